//! Generates the messages and their protojson from the .proto files, without any program that is not Rust.

use prost::Message as _;
use std::error::Error;

const FILES: [&str; 8] = [
    "google/v1/profile.proto",
    "types/v1/types.proto",
    "push/v1/push.proto",
    "querier/v1/querier.proto",
    "otlp/v1/otlp.proto",
    "stubs/v1/stubs.proto",
    "settings/v1/setting.proto",
    "adhocprofiles/v1/adhocprofiles.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    let descriptors = files.encode_to_vec();
    prost_build::Config::new()
        // A pushed profile is sliced out of the request's buffer and sent again in retries, without a copy.
        .bytes([".push.v1.RawSample.raw_profile"])
        .compile_fds(files)?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)?
        .ignore_unknown_fields()
        .ignore_unknown_enum_variants()
        .build(&[
            ".google.v1",
            ".types.v1",
            ".push.v1",
            ".querier.v1",
            ".otlp.v1",
            ".stubs.v1",
            ".settings.v1",
            ".adhocprofiles.v1",
        ])?;
    Ok(())
}
