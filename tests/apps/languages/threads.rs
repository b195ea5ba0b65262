// SPDX-License-Identifier: GPL-2.0
//! An echo server and its clients on threads, a panic that unwinds, a child.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

fn check(what: &str, good: bool) {
    if !good {
        println!("failed: {what}");
        std::process::exit(1);
    }
}

fn main() {
    let level: u64;
    unsafe { std::arch::asm!("mov {}, cs", out(reg) level) };
    println!("level {}", level & 3);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    let clients: Vec<_> = (0..20u8)
        .map(|number| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut back = [0; 100];
                for _ in 0..20 {
                    stream.write_all(&[number; 100]).unwrap();
                    stream.read_exact(&mut back).unwrap();
                }
                back == [number; 100]
            })
        })
        .collect();
    for client in clients {
        check("echo", client.join().unwrap());
    }
    let caught = std::panic::catch_unwind(|| {
        let nothing: Option<u32> = None;
        nothing.unwrap()
    });
    check("unwind", caught.is_err());
    let output = Command::new("/bin/sh").args(["-c", "echo $((6 * 7))"]).output().unwrap();
    check("command", output.stdout == b"42\n");
    println!("all passed");
}
