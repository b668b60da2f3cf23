//! A web server of one page, for one client at a time.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
};

fn main() -> std::io::Result<()> {
    for client in TcpListener::bind("0.0.0.0:8080")?.incoming() {
        if let Err(error) = serve(client?) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

fn serve(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(&client).read_line(&mut request)?;
    let path = request.split(' ').nth(1).unwrap_or("/");
    let text = answers::answer(path);
    write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}
