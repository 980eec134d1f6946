package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	pb "client/sidecarv1" // generated
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	ctx, plain := context.Background(), grpc.WithTransportCredentials(insecure.NewCredentials())
	sidecar := pb.NewAuthorizationServiceClient(must(grpc.NewClient("127.0.0.1:50051", plain)))
	messages := []map[string]string{{"role": "user", "content": "Why is the sky blue?"}}
	body := map[string]any{"model": "mistral-small-latest", "messages": messages}
	size := int64(len(must(json.Marshal(body))))
	decision := must(sidecar.Authorize(ctx, &pb.AuthorizeRequest{ // an error: no call
		RequestId: rand.Text(),
		Principal: &pb.Principal{Id: "ada", Role: "developer", Workspace: "dev-workspace"},
		Model:     "mistral-small-latest",
		Estimate:  &pb.Estimate{Input: &pb.Estimate_InputBytes{InputBytes: size}},
	}))
	if decision.Effect != pb.Effect_EFFECT_ALLOW {
		for _, reason := range decision.Reasons {
			fmt.Println(reason.HttpStatus, reason.Message)
		}
		return
	}
	body["max_tokens"] = decision.MaxOutputTokens
	content := bytes.NewReader(must(json.Marshal(body)))
	post := must(http.NewRequest("POST", os.Getenv("MISTRAL_URL")+"/v1/chat/completions", content))
	post.Header.Set("Authorization", "Bearer "+os.Getenv("MISTRAL_API_KEY"))
	post.Header.Set("Content-Type", "application/json")
	response := must(http.DefaultClient.Do(post))
	text := must(io.ReadAll(response.Body))
	report := &pb.SettleRequest{HoldId: decision.HoldId, Outcome: pb.Outcome_OUTCOME_FAILED}
	if response.StatusCode == http.StatusOK {
		var answer struct {
			Model string
			Usage any
		}
		json.Unmarshal(text, &answer)
		usage := string(must(json.Marshal(answer.Usage)))
		report.Reported = &pb.SettleRequest_UsageJson{UsageJson: usage}
		report.ResponseModel, report.Outcome = answer.Model, pb.Outcome_OUTCOME_OK
	} else if response.StatusCode < 500 { // refused: no tokens; else as held
		none := &pb.Usage{InputTokens: new(int64), OutputTokens: new(int64)}
		report.Reported = &pb.SettleRequest_Usage{Usage: none}
	}
	must(sidecar.Settle(ctx, report))
	fmt.Println(string(text))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
