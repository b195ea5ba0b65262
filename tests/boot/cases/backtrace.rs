// SPDX-License-Identifier: GPL-2.0
// A panic in a thread, and a backtrace with names; the C library's frames are left out.
fn inner(x: i32) -> i32 { if x > 0 { panic!("boom {}", x) } x }
fn main() {
    println!("exe {:?}", std::env::current_exe());
    let thread = std::thread::spawn(|| inner(3));
    println!("join err {}", thread.join().is_err());
    let frames = std::backtrace::Backtrace::force_capture().to_string();
    for line in frames.lines().filter(|line| line.contains("backtrace")) {
        println!("{}", line);
    }
}
