// SPDX-License-Identifier: GPL-2.0
//! An echo server and its clients on several threads, timers, a panic that unwinds, a child.

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn check(what: &str, good: bool) {
    if !good {
        println!("failed: {what}");
        std::process::exit(1);
    }
}

async fn serve(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut data = [0; 1024];
            while let Ok(got) = stream.read(&mut data).await {
                if got == 0 || stream.write_all(&data[..got]).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn talk(address: std::net::SocketAddr, number: u8) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut back = [0; 100];
    for _ in 0..20 {
        stream.write_all(&[number; 100]).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
    }
    back == [number; 100]
}

async fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener));
    let clients: Vec<_> = (0..40).map(|n| tokio::spawn(talk(address, n))).collect();
    for client in clients {
        check("echo", client.await.unwrap());
    }
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    check("sleep", begin.elapsed() >= Duration::from_millis(50));
    let mut command = tokio::process::Command::new("/bin/sh");
    let output = command.args(["-c", "echo $((6 * 7))"]).output().await.unwrap();
    check("command", output.stdout == b"42\n");
}

fn main() {
    let level: u64;
    unsafe { std::arch::asm!("mov {}, cs", out(reg) level) };
    println!("level {}", level & 3);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(run());
    let caught = std::panic::catch_unwind(|| {
        let nothing: Option<u32> = None;
        nothing.unwrap()
    });
    check("unwind", caught.is_err());
    println!("all passed");
}
