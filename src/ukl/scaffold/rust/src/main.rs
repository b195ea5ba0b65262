// SPDX-License-Identifier: 0BSD
//! Answers each request with a line of text, in a thread of its own.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const PORT: u16 = 8080;

fn answer(mut connection: TcpStream) -> Result<()> {
    let mut request = [0; 4096];
    let body = "Hello from @NAME@.\n";

    if connection.read(&mut request)? > 0 {
        write!(
            connection,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{}",
            body.len(),
            body
        )?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;

    println!("listening on port {}", PORT);
    for connection in listener.incoming() {
        let connection = connection?;
        thread::spawn(move || answer(connection));
    }
    Ok(())
}
