// Spends 60, 30 and 10 percent of its CPU time in three functions; the Go twin of c/split.c.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const (
	processCPU = 2
	threadCPU  = 3
)

var sink uint64

func clockNs(clock uintptr) uint64 {
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&now)), 0)
	return uint64(now.Sec)*1_000_000_000 + uint64(now.Nsec)
}

func mix(x uint64) uint64 {
	return ((x*6364136223846793005)^(x>>29))*2862933555777941757 + ((x << 7) ^ (x >> 3)) // mark: mix
}

//go:noinline
func burn60() uint64 {
	begun := clockNs(threadCPU)
	for {
		for i := 0; i < 20000; i++ {
			sink = mix(sink)
		}
		if spent := clockNs(threadCPU) - begun; spent >= 30_000_000 {
			return spent
		}
	}
}

//go:noinline
func burn30() uint64 {
	begun := clockNs(threadCPU)
	for {
		for i := 0; i < 20000; i++ {
			sink = mix(sink)
		}
		if spent := clockNs(threadCPU) - begun; spent >= 15_000_000 {
			return spent
		}
	}
}

//go:noinline
func burn10() uint64 {
	begun := clockNs(threadCPU)
	for {
		for i := 0; i < 20000; i++ {
			sink = mix(sink)
		}
		if spent := clockNs(threadCPU) - begun; spent >= 5_000_000 {
			return spent
		}
	}
}

//go:noinline
func inner(which int) uint64 {
	switch which {
	case 0:
		return burn60() // mark: call of burn_60
	case 1:
		return burn30() // mark: call of burn_30
	}
	return burn10() // mark: call of burn_10
}

//go:noinline
func outer(which int) uint64 {
	return inner(which) // mark: call of inner
}

func main() {
	runtime.LockOSThread()
	seconds := 30.0
	if len(os.Args) > 1 {
		seconds, _ = strconv.ParseFloat(os.Args[1], 64)
	}
	var spent [3]uint64
	for end := time.Now().Add(time.Duration(seconds * 1e9)); time.Now().Before(end); {
		for which := range spent {
			spent[which] += outer(which) // mark: call of outer
		}
	}
	fmt.Printf("{\"cpu_ns\":%d,\"burn_60\":%d,\"burn_30\":%d,\"burn_10\":%d}\n", clockNs(processCPU), spent[0], spent[1], spent[2])
}
