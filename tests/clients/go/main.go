// Calls Mistral within a budget: asks the sidecar before, and tells it afterwards what was used.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "client/sidecarv1"
)

const (
	patience = 60 * time.Second
	pause    = 50 * time.Millisecond
)

type client struct {
	sidecar                           pb.AuthorizationServiceClient
	target, mistral, ca, token        string
	user, workspace, role, key, model string
	requestID                         string
	inputTokens, maxTokens            int64
	count, inFlight                   int
	deadline                          time.Duration
}

type result map[string]any

func main() {
	c, command := readFlags()
	options, err := c.dialOptions()
	exitOn(err)
	connection, err := grpc.NewClient(c.target, options...)
	exitOn(err)
	defer connection.Close()
	c.sidecar = pb.NewAuthorizationServiceClient(connection)
	printed, err := command(c)
	if refused, ok := status.FromError(err); ok && err != nil {
		printed = result{"error": code.Code(refused.Code()).String(), "called": false}
	} else {
		exitOn(err)
	}
	exitOn(json.NewEncoder(os.Stdout).Encode(printed))
}

// call makes one call to Mistral, if it may go out.
func (c *client) call() (result, error) {
	decision, err := ask(c, c.sidecar.Authorize, c.request(c.requestID))
	if err != nil {
		return nil, err
	}
	printed := result{
		"effect":                strings.TrimPrefix(decision.Effect.String(), "EFFECT_"),
		"reasons":               []string{},
		"http_status":           0,
		"retry_after_seconds":   decision.RetryAfter.AsDuration().Seconds(),
		"called":                false,
		"charged_cost_nano_usd": 0,
		"charged_tokens":        0,
		"released":              false,
	}
	if reasons := decision.Reasons; len(reasons) > 0 {
		codes := make([]string, len(reasons))
		for i, reason := range reasons {
			codes[i] = reason.Code
		}
		printed["reasons"], printed["http_status"] = codes, reasons[0].HttpStatus
	}
	if decision.Effect != pb.Effect_EFFECT_ALLOW {
		return printed, nil
	}
	report, err := c.complete(decision)
	if errors.Is(err, syscall.ECONNREFUSED) {
		release := &pb.ReleaseRequest{HoldId: decision.HoldId, Reason: "no connection to Mistral"}
		_, err := ask(c, c.sidecar.Release, release)
		printed["released"] = true
		return printed, err
	}
	settled, err := ask(c, c.sidecar.Settle, report)
	if err != nil {
		return result{"error": code.Code(status.Code(err)).String(), "called": true}, nil
	}
	printed["called"] = true
	printed["charged_cost_nano_usd"] = settled.ChargedCostNanoUsd
	printed["charged_tokens"] = settled.ChargedTokens
	return printed, nil
}

// complete calls Mistral, and returns what there is to settle; whatever the error, that is of use.
func (c *client) complete(decision *pb.AuthorizeResponse) (*pb.SettleRequest, error) {
	// What is unknown is spent: without a usage, a hold is charged as it was held.
	unknown := &pb.SettleRequest{HoldId: decision.HoldId, Outcome: pb.Outcome_OUTCOME_FAILED}
	body, err := json.Marshal(map[string]any{
		"model":      c.model,
		"messages":   []map[string]string{{"role": "user", "content": "Why is the sky blue?"}},
		"max_tokens": decision.MaxOutputTokens,
	})
	if err != nil {
		return unknown, err
	}
	url := c.mistral + "/v1/chat/completions"
	post, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return unknown, err
	}
	post.Header.Set("Authorization", "Bearer "+os.Getenv("MISTRAL_API_KEY"))
	post.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Timeout: time.Minute}).Do(post)
	if err != nil {
		return unknown, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	var completion struct {
		Model string
		Usage any
	}
	if err != nil || response.StatusCode != http.StatusOK || json.Unmarshal(text, &completion) != nil {
		return unknown, err
	}
	usage, err := json.Marshal(completion.Usage) // the whole text may be too large
	if err != nil {
		return unknown, err
	}
	return &pb.SettleRequest{
		HoldId:        decision.HoldId,
		Reported:      &pb.SettleRequest_UsageJson{UsageJson: string(usage)},
		ResponseModel: completion.Model,
		Outcome:       pb.Outcome_OUTCOME_OK,
	}, nil
}

// stream asks for many calls on one stream, a bounded number of them at once.
func (c *client) stream() (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.deadline)
	defer cancel()
	stream, err := c.sidecar.AuthorizeStream(ctx)
	if err != nil {
		return nil, err
	}
	places := make(chan struct{}, c.inFlight)
	var lock sync.Mutex
	unanswered, most := map[string]bool{}, 0
	go func() {
		defer stream.CloseSend()
		for number := range c.count {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			request := c.request(fmt.Sprintf("%s-%d", c.requestID, number))
			lock.Lock()
			unanswered[request.RequestId] = true
			most = max(most, len(unanswered))
			lock.Unlock()
			if stream.Send(request) != nil {
				return // Recv has the reason
			}
		}
	}()
	var answered, allowed, denied, unmatched int
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		lock.Lock()
		asked := unanswered[answer.RequestId]
		delete(unanswered, answer.RequestId)
		lock.Unlock()
		if !asked {
			unmatched++
			continue
		}
		answered++
		if answer.Effect == pb.Effect_EFFECT_ALLOW {
			allowed++
		} else {
			denied++
		}
		<-places
	}
	return result{
		"answered": answered, "allowed": allowed, "denied": denied,
		"unmatched": unmatched, "most_in_flight": most,
	}, nil
}

// many authorizes and settles many calls, whatever happens to the sidecar meanwhile.
func (c *client) many() (result, error) {
	var allowed, denied, settled, retries, cost atomic.Int64
	one := func(number int) error {
		giveUp := time.Now().Add(patience)
		// The same request_id and hold_id each time: what was decided is not decided twice.
		request := c.request(fmt.Sprintf("%s-%d", c.requestID, number))
		decision, err := patiently(c, c.sidecar.Authorize, request, giveUp, &retries)
		if err != nil {
			return err
		}
		if decision.Effect != pb.Effect_EFFECT_ALLOW {
			denied.Add(1)
			return nil
		}
		allowed.Add(1)
		usage := &pb.Usage{InputTokens: &c.inputTokens, OutputTokens: &c.maxTokens}
		charged, err := patiently(c, c.sidecar.Settle, &pb.SettleRequest{
			HoldId:   decision.HoldId,
			Reported: &pb.SettleRequest_Usage{Usage: usage},
			Outcome:  pb.Outcome_OUTCOME_OK,
		}, giveUp, &retries)
		if err != nil {
			return err
		}
		settled.Add(1)
		cost.Add(charged.ChargedCostNanoUsd)
		return nil
	}
	numbers, failures := make(chan int), make(chan error, c.count)
	var workers sync.WaitGroup
	for range c.inFlight {
		workers.Go(func() {
			for number := range numbers {
				if err := one(number); err != nil {
					failures <- err
				}
			}
		})
	}
	for number := range c.count {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	close(failures)
	return result{
		"allowed": allowed.Load(), "denied": denied.Load(), "settled": settled.Load(),
		"retries": retries.Load(), "charged_cost_nano_usd": cost.Load(),
	}, <-failures
}

type rpc[Request, Response any] func(context.Context, Request, ...grpc.CallOption) (Response, error)

// ask makes one RPC within its deadline.
func ask[Request, Response any](c *client, rpc rpc[Request, Response], request Request) (Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.deadline)
	defer cancel()
	return rpc(ctx, request)
}

// patiently repeats an RPC while the sidecar is away or late.
func patiently[Request, Response any](
	c *client, rpc rpc[Request, Response], request Request, giveUp time.Time, retries *atomic.Int64,
) (Response, error) {
	for {
		response, err := ask(c, rpc, request)
		again := status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
		if !again || time.Now().After(giveUp) {
			return response, err
		}
		retries.Add(1)
		time.Sleep(pause)
	}
}

func (c *client) request(requestID string) *pb.AuthorizeRequest {
	return &pb.AuthorizeRequest{
		RequestId: requestID,
		Principal: &pb.Principal{Id: c.user, Role: c.role, Workspace: c.workspace, KeyId: c.key},
		Model:     c.model,
		Endpoint:  pb.Endpoint_ENDPOINT_CHAT,
		Estimate: &pb.Estimate{
			Input:           &pb.Estimate_InputTokens{InputTokens: c.inputTokens},
			MaxOutputTokens: c.maxTokens,
		},
	}
}

// dialOptions chooses TLS if there is a CA to trust.
func (c *client) dialOptions() ([]grpc.DialOption, error) {
	// A sidecar that restarts is found again soon; gRPC would wait for up to two minutes.
	options := []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second},
		MinConnectTimeout: 20 * time.Second,
	})}
	if c.ca == "" {
		return append(options, grpc.WithTransportCredentials(insecure.NewCredentials())), nil
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", c.ca)
	}
	tls := credentials.NewTLS(&tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12})
	options = append(options, grpc.WithTransportCredentials(tls))
	if c.token != "" {
		options = append(options, grpc.WithPerRPCCredentials(tokenFile(c.token)))
	}
	return options, nil
}

// tokenFile is a file with a bearer token. It is read anew for each RPC: tokens are replaced.
type tokenFile string

func (file tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(file))
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, nil
}

func (tokenFile) RequireTransportSecurity() bool { return true }

func readFlags() (*client, func(*client) (result, error)) {
	commands := map[string]func(*client) (result, error){
		"call": (*client).call, "stream": (*client).stream, "many": (*client).many,
	}
	c, flags := &client{}, flag.NewFlagSet("client", flag.ExitOnError)
	for name, text := range map[string]*string{
		"target": &c.target, "mistral": &c.mistral, "ca": &c.ca, "token": &c.token,
		"user": &c.user, "workspace": &c.workspace, "role": &c.role, "key": &c.key,
		"model": &c.model, "request-id": &c.requestID,
	} {
		flags.StringVar(text, name, "", "")
	}
	flags.Int64Var(&c.inputTokens, "input-tokens", 100, "")
	flags.Int64Var(&c.maxTokens, "max-tokens", 100, "")
	flags.IntVar(&c.count, "count", 1, "")
	flags.IntVar(&c.inFlight, "in-flight", 4, "")
	seconds := flags.Float64("deadline-seconds", 5, "")
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: client call|stream|many --target ADDRESS [--flag value ...]")
		os.Exit(2)
	}
	flags.Parse(os.Args[2:]) // exits 2 where it is wrong
	if c.target == "" || flags.NArg() > 0 || c.token != "" && c.ca == "" {
		fmt.Fprintln(os.Stderr, "--target is needed, nothing but flags, and --ca with --token")
		os.Exit(2)
	}
	c.deadline = time.Duration(*seconds * float64(time.Second))
	return c, commands[os.Args[1]]
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
