fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../crates/gateway/proto";
    let files = protox::compile(["levada/events/v1/events.proto"], [proto])?;
    tonic_prost_build::configure().bytes(".").build_server(false).compile_fds(files)?;
    println!("cargo::rerun-if-changed={proto}");
    Ok(())
}
