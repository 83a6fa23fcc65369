//! Scratch.
use agent::agent::*;
fn main() {
    let config = agent::kernel::Config { frequency_hz: 97, ring_bytes: 0, max_processes: 0, stack_slots: 0, log: std::env::var_os("BLOG").is_some() };
    let mut s = Sampler::new(&config, Target::All).unwrap();
    println!("{} {:?} processes {}", s.kernel().tier(), s.kernel().sizes(), s.n_processes());
    s.start().unwrap();
    let end = monotonic_ns() + 5_000_000_000;
    while monotonic_ns() < end { s.wait(std::time::Duration::from_millis(200)); s.drain(u64::MAX); }
    println!("{:#?}", s.tally().unwrap());
    let mut w = s.close_window().unwrap();
    w.sort_by_key(|c| std::cmp::Reverse(c.n_samples));
    for c in w.iter().take(15) { println!("{} {} {:?} {:?} {:?}", c.n_samples, String::from_utf8_lossy(&c.comm).trim_end_matches('\0'), c.process.exe_path, c.stack.outcome, c.stack.frames.iter().map(|f| match f { agent::stack::Frame::Kernel{address} => format!("k{address:x}"), agent::stack::Frame::Native{executable,offset} => format!("{}+{offset:x}", executable.basename()), f=>format!("{f:?}")}).collect::<Vec<_>>().join(";")); }
}
