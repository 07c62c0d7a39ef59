package main

import (
	"context"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A daemon uses most of its program and of its heap when it starts or has much
// to do, and a router has little memory: what is not needed is given back soon
// after the start and now and then.
const (
	returnFirst = 20 * time.Second
	returnEvery = 10 * time.Minute
)

// returnMemory gives back until ctx ends.
func returnMemory(ctx context.Context) {
	t := time.NewTimer(returnFirst)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		debug.FreeOSMemory()
		unmapProgram()
		t.Reset(returnEvery)
	}
}

// unmapProgram lets the kernel forget which pages of our program we have used.
// They are clean, and come back from its cache, or the flash, as they are
// needed; meanwhile the kernel may have their memory.
func unmapProgram() {
	maps, err := os.ReadFile("/proc/self/maps")
	exe, err2 := os.Readlink("/proc/self/exe")
	if err != nil || err2 != nil {
		return // nothing is lost but room
	}
	for line := range strings.Lines(string(maps)) {
		if start, length, ok := parseMap(line, exe); ok {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, length, unix.MADV_DONTNEED)
		}
	}
}

// parseMap takes a line of /proc/self/maps: of the program's own file, and never
// written to.
func parseMap(line, exe string) (start, length uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || f[5] != exe || f[1] != "r-xp" && f[1] != "r--p" {
		return 0, 0, false
	}
	var end uintptr
	from, to, _ := strings.Cut(f[0], "-")
	for s, v := range map[string]*uintptr{from: &start, to: &end} {
		for _, c := range []byte(s) {
			*v = *v<<4 | uintptr(strings.IndexByte("0123456789abcdef", c))
		}
	}
	return start, end - start, end > start
}
