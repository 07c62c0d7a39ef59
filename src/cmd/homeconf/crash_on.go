//go:build crashpoints

package main

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// crashStep kills this process, as kill -9 does, at the point that the
// environment names: HOMECONF_CRASH="pass.recorded", or "pass.recorded#2" for
// the second time that it comes by.
func crashStep() func(string) {
	at, nth, _ := strings.Cut(os.Getenv("HOMECONF_CRASH"), "#")
	n, err := strconv.Atoi(nth)
	if err != nil {
		n = 1
	}
	var count atomic.Int32
	return func(name string) {
		if at != "" && name == at && int(count.Add(1)) == n {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}
