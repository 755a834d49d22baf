//! The gRPC messages, compiled without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        protox::compile(["levada/events/v1/events.proto", "levada/events/v1/lifecycle.proto"], ["proto"])?;
    let codec = "crate::events::grpc::codec::SmallCodec";
    tonic_prost_build::configure().bytes(".").build_transport(false).codec_path(codec).compile_fds(files)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
