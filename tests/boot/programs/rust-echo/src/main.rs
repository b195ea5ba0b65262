// SPDX-License-Identifier: GPL-2.0
// A TCP echo server with tokio. Before it serves, it prints a line for each part that works.

use std::collections::HashMap;
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn panics_unwind() -> String {
    let result = std::panic::catch_unwind(|| {
        let v: Vec<i32> = Vec::new();
        v[std::env::args().count() + 7]
    });
    format!("caught {}", result.is_err())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", panics_unwind());
    let mut m = HashMap::new();
    m.insert("a", 1);
    let mut text = String::new();
    std::fs::File::open("/proc/self/comm")?.read_to_string(&mut text)?;
    println!("comm {} {:?}", text.trim(), m);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("0.0.0.0:5555").await?;
    println!("listening");
    loop {
        let (mut socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buf = [0; 4096];
            loop {
                match socket.read(&mut buf).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => {
                        if socket.write_all(&buf[..n]).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
}
