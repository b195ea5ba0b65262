// SPDX-License-Identifier: GPL-2.0
//! A TCP echo server with tokio. A line that is just `panic` ends its connection by a panic. The
//! server answers a line `sleep MILLISECONDS` with `slept` after that time.

use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

const PORT: u16 = 5555;
const LINE: u64 = 4096; // a longer one is read in pieces

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (input, mut output) = stream.split();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();

    while (&mut input).take(LINE).read_until(b'\n', &mut line).await? > 0 {
        let words = String::from_utf8_lossy(&line);
        match words.trim_end().split_once(' ') {
            None if words == "panic\n" => panic!("as it was told to"),
            Some(("sleep", time)) if time.parse::<u64>().is_ok() => {
                sleep(Duration::from_millis(time.parse().unwrap())).await;
                output.write_all(b"slept\n").await?;
            }
            _ => output.write_all(&line).await?,
        }
        line.clear();
    }
    Ok(())
}

async fn listen() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;

    println!("listening on port {}", PORT);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?
        .block_on(listen())
}
