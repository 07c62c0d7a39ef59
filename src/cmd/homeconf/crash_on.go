//go:build crashpoints

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// crashStep kills this process, as kill -9 does, at a point between two steps.
// HOMECONF_STEPS names a folder: every point that is passed becomes a line of
// its file "passed". The process dies at the one that the file "crash" names,
// as "pass.written" or, at the third time from then on, "pass.written#3". That
// file goes first, so that it is died of once.
func crashStep() func(string) {
	dir := os.Getenv("HOMECONF_STEPS")
	if dir == "" {
		return nil
	}
	passed, err := os.OpenFile(filepath.Join(dir, "passed"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	crash := filepath.Join(dir, "crash")
	var mu sync.Mutex
	var armed string
	left := 0
	return func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := passed.WriteString(name + "\n"); err != nil {
			panic(err)
		}
		at, err := os.ReadFile(crash)
		if err != nil {
			return
		}
		want, nth, _ := strings.Cut(string(at), "#")
		if armed != string(at) {
			armed, left = string(at), 1
			if n, err := strconv.Atoi(nth); err == nil {
				left = n
			}
		}
		if want != name {
			return
		}
		if left--; left > 0 {
			return
		}
		if err := os.Remove(crash); err != nil {
			panic(err)
		}
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
