// SPDX-License-Identifier: GPL-2.0
//! Tests the server at $HOST and $PORT as a client.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn connect() -> TcpStream {
    let host = env::var("HOST").expect("HOST says where the server is");
    let port: u16 = env::var("PORT").expect("PORT, too").parse().unwrap();
    let stream = TcpStream::connect((host.as_str(), port)).unwrap();

    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn echoes(stream: &mut TcpStream, data: &[u8]) {
    let mut got = vec![0; data.len()];

    stream.write_all(data).unwrap();
    stream.read_exact(&mut got).unwrap();
    assert!(got == data);
}

#[test]
fn a_line_comes_back() {
    echoes(&mut connect(), b"hello\n");
}

#[test]
fn bytes_of_all_values_come_back() {
    let all: Vec<u8> = (0..=255).chain([b'\n']).collect();

    echoes(&mut connect(), &all);
}

#[test]
fn the_rest_comes_behind_the_end() {
    let mut stream = connect();
    let mut got = Vec::new();

    stream.write_all(b"no end of the line").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"no end of the line");
}

#[test]
fn a_stream_of_megabytes_comes_back() {
    let mut stream = connect();
    let mut reader = stream.try_clone().unwrap();
    let data: Vec<u8> = (0..4_000_000u32).map(|n| (n.wrapping_mul(n) >> 8) as u8).collect();
    let sent = data.clone();
    let writer = thread::spawn(move || {
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();

    reader.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == data);
}

#[test]
fn many_at_once_get_their_own() {
    let clients: Vec<_> = (0..100)
        .map(|client| {
            thread::spawn(move || {
                let mut stream = connect();
                for number in 0..20 {
                    echoes(&mut stream, format!("{} of {}\n", number, client).as_bytes());
                }
            })
        })
        .collect();

    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_panic_ends_one_connection_only() {
    let mut other = connect();
    let mut stream = connect();
    let mut got = Vec::new();

    echoes(&mut other, b"before\n");
    for _ in 0..20 {
        stream.write_all(b"panic\n").unwrap();
        stream.read_to_end(&mut got).unwrap();
        assert!(got.is_empty());
        stream = connect();
    }
    echoes(&mut other, b"after\n");
}

#[test]
fn who_sleeps_holds_nobody_up() {
    let begin = Instant::now();
    let mut sleepers: Vec<_> = (0..50).map(|_| connect()).collect();

    for stream in &mut sleepers {
        stream.write_all(b"sleep 3000\n").unwrap();
    }
    echoes(&mut connect(), b"quick\n");
    for stream in sleepers {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line, "slept\n");
    }
    // One after the other they would take 150 s.
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert!(begin.elapsed() < Duration::from_secs(60));
}
