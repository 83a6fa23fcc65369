//! Spends 60, 30 and 10 percent of its CPU time in three functions; the Rust twin of `c/split.c`.

use std::hint::black_box;
use std::time::{Duration, Instant};

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, now: *mut Timespec) -> i32;
}

const PROCESS_CPU: i32 = 2;
const THREAD_CPU: i32 = 3;

fn clock_ns(clock: i32) -> u64 {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the clock exists and `now` is a timespec that may be written.
    unsafe { clock_gettime(clock, &mut now) };
    now.seconds as u64 * 1_000_000_000 + now.nanoseconds as u64
}

#[inline(always)]
fn mix(x: u64) -> u64 {
    ((x.wrapping_mul(6_364_136_223_846_793_005)) ^ (x >> 29)).wrapping_mul(2_862_933_555_777_941_757).wrapping_add((x << 7) ^ (x >> 3)) // mark: mix
}

fn burn(until_ns: u64, mut round: impl FnMut()) -> u64 {
    let begun = clock_ns(THREAD_CPU);
    loop {
        round();
        let spent = clock_ns(THREAD_CPU) - begun;
        if spent >= until_ns {
            return spent;
        }
    }
}

macro_rules! burner {
    ($name:ident, $ms:literal) => {
        #[inline(never)]
        fn $name() -> u64 {
            let mut x = black_box(1);
            let spent = burn($ms * 1_000_000, || {
                for _ in 0..20_000 {
                    x = mix(x);
                }
            });
            black_box(x);
            spent
        }
    };
}

burner!(burn_60, 30);
burner!(burn_30, 15);
burner!(burn_10, 5);

#[inline(never)]
fn inner(which: usize) -> u64 {
    let spent = match which {
        0 => burn_60(), // mark: call of burn_60
        1 => burn_30(), // mark: call of burn_30
        _ => burn_10(), // mark: call of burn_10
    };
    black_box(spent)
}

#[inline(never)]
fn outer(which: usize) -> u64 {
    let spent = inner(which); // mark: call of inner
    black_box(spent)
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(30.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut spent = [0; 3];
    while Instant::now() < end {
        for (which, total) in spent.iter_mut().enumerate() {
            *total += outer(which); // mark: call of outer
        }
    }
    let [burn_60, burn_30, burn_10] = spent;
    let cpu_ns = clock_ns(PROCESS_CPU);
    println!("{{\"cpu_ns\":{cpu_ns},\"burn_60\":{burn_60},\"burn_30\":{burn_30},\"burn_10\":{burn_10}}}");
}
