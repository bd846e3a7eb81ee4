//! Encodes a message of a type that protoc described.

use prost::Message as _;

mod answer {
    include!(concat!(env!("OUT_DIR"), "/answer.rs"));
}

fn main() {
    let given = Some(prost_types::Timestamp::default());
    println!("{:?}", answer::Answer { given, value: 42 }.encode_to_vec());
}
