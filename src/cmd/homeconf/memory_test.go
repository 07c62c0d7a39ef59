package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestParseMap(t *testing.T) {
	for line, want := range map[string][2]uintptr{
		"00400000-006d6000 r-xp 00000000 00:1f 12 /usr/sbin/homeconf\n":    {0x400000, 0x2d6000},
		"006d6000-009e1000 r--p 002d6000 00:1f 12 /usr/sbin/homeconf\n":    {0x6d6000, 0x30b000},
		"009e1000-00a1c000 rw-p 005e1000 00:1f 12 /usr/sbin/homeconf\n":    {},
		"00a1c000-02a55000 rw-p 00000000 00:00 0\n":                        {},
		"7f0000000000-7f0000001000 r-xp 00000000 00:1f 13 /lib/ld-musl.so": {},
		"x": {}, "": {},
	} {
		start, length, ok := parseMap(line, "/usr/sbin/homeconf")
		if start != want[0] || length != want[1] || ok != (want[1] > 0) {
			t.Errorf("%q: %#x, %#x, %v", line, start, length, ok)
		}
	}
}

// TestProgramIsUnmapped: the pages that were read are no longer counted, and are
// there again when they are needed.
func TestProgramIsUnmapped(t *testing.T) {
	file := func() (kb int) {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Skip(err)
		}
		_, rest, _ := strings.Cut(string(b), "RssFile:")
		kb, err = strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Skip("this kernel does not tell")
		}
		return kb
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	sum := 0
	touch := func() {
		b, _ := os.ReadFile("/proc/self/maps")
		for line := range strings.Lines(string(b)) {
			if _, _, ok := parseMap(line, exe); ok {
				sum++
			}
		}
	}
	touch()
	if sum < 2 {
		t.Fatalf("%d mappings of the program in /proc/self/maps", sum)
	}
	before := file()
	unmapProgram()
	after := file()
	if after >= before {
		t.Errorf("%d KB of files before, %d after", before, after)
	}
	t.Logf("%d KB of files before, %d after", before, after)
}
