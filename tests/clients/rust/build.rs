//! Generates the client from the contract; also in `build/clients/rust`, where a copy is built.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&["../../../proto/sidecar/v1/authorization.proto"], &["../../../proto"])
}
