package iptables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"homeconf/src/model"
)

// inNamespace runs the calling test once more in a network namespace of its own
// and returns true there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "HOMECONF_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	var lacks []string
	if os.Geteuid() != 0 {
		lacks = append(lacks, "root")
	}
	for _, p := range []string{"ip", "iptables-legacy", "iptables-nft"} {
		if _, err := exec.LookPath(p); err != nil {
			lacks = append(lacks, "the program "+p)
		}
	}
	if lacks != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs %s", strings.Join(lacks, ", "))
		}
		t.Skipf("needs %s", strings.Join(lacks, ", "))
	}
	ns := fmt.Sprintf("hct%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", ns).Run()
	cmd := exec.Command("ip", "netns", "exec", ns, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, &stderr)
	}
	return string(out)
}

func TestRealTables(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ctx := context.Background()
	for _, program := range []string{"iptables-legacy", "iptables-nft"} {
		t.Run(program, func(t *testing.T) {
			run(t, program, "-t", "mangle", "-N", "OTHERS")
			run(t, program, "-t", "mangle", "-A", "FORWARD", "-s", "10.9.9.9", "-m", "comment", "--comment", "a person's own", "-j", "OTHERS")
			run(t, program, "-t", "mangle", "-A", "OTHERS", "-d", "192.168.1.5", "-j", "DSCP", "--set-dscp", "0x0a")
			foreign := run(t, program, "-t", "mangle", "-S")
			tab, err := Open(program)
			if err != nil {
				t.Fatal(err)
			}
			own, version, err := newOwnLister(program)
			if err != nil || len(version) != 3 {
				t.Fatal(version, err)
			}
			put := func(marks ...model.Mark) {
				t.Helper()
				to, err := Want(Rules(marks, "br-lan"))
				if err != nil {
					t.Fatal(err)
				}
				from, err := tab.Read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if err := tab.Put(ctx, from, to); err != nil {
					t.Fatal(err)
				}
				now, err := tab.Read(ctx)
				if err != nil || !now.Equal(to) {
					t.Fatalf("wrote %+v, read %+v, %v", to, now, err)
				}
				// The lister that small routers have sees the same.
				wantChains, err := tab.ipt.ListChains(table)
				if err != nil {
					t.Fatal(err)
				}
				if chains, err := own.ListChains(table); err != nil || !slices.Equal(chains, wantChains) {
					t.Fatalf("chains %q, want %q, %v", chains, wantChains, err)
				}
				small := *tab
				small.ipt = own
				if now, err = small.Read(ctx); err != nil || !now.Equal(to) {
					t.Fatalf("wrote %+v, and our own lister read %+v, %v", to, now, err)
				}
			}
			a := model.Mark{Device: stb, Address: addr("192.168.1.50"), Groups: []netip.Addr{addr("239.1.1.1")}, Class: model.ClassBroadcastVideo, Reason: `Bob's "TV" – 50%`}
			b := model.Mark{Device: tv, Address: addr("192.168.1.51"), Class: model.ClassLowPriority, Reason: strings.Repeat("long ", 100)}
			put(a)
			put(a)
			put(a, b)
			run(t, program, "-t", "mangle", "-D", "FORWARD", "-j", Chain) // fw3's reload
			put(a, b)
			run(t, program, "-t", "mangle", "-I", "FORWARD", "-j", Chain)
			run(t, program, "-t", "mangle", "-A", Chain, "-j", "RETURN")
			put(b)
			run(t, program, "-t", "mangle", "-F") // somebody empties the table
			run(t, program, "-t", "mangle", "-A", "FORWARD", "-s", "10.9.9.9", "-m", "comment", "--comment", "a person's own", "-j", "OTHERS")
			run(t, program, "-t", "mangle", "-A", "OTHERS", "-d", "192.168.1.5", "-j", "DSCP", "--set-dscp", "0x0a")
			put(a, b)
			put()
			if now := run(t, program, "-t", "mangle", "-S"); now != foreign {
				t.Errorf("what is not ours was\n%s\nand became\n%s", foreign, now)
			}
			put() // nothing there: success
			// A person's jump holds our chain: it is emptied, and he is told.
			put(a)
			run(t, program, "-t", "mangle", "-A", "OTHERS", "-j", Chain)
			from, _ := tab.Read(ctx)
			if err := tab.Put(ctx, from, State{}); err == nil || !strings.Contains(err.Error(), "it is empty now") {
				t.Errorf("held chain: %v", err)
			}
			if now, _ := tab.Read(ctx); now.Jumps != 0 || len(now.Rules) != 0 || !now.Chain {
				t.Errorf("held chain: %+v", now)
			}
			run(t, program, "-t", "mangle", "-F", "OTHERS")
		})
	}
}

func TestOpenWithoutProgram(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "iptables")); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// A program that has no DSCP target, as where iptables-mod-ipopt is missing.
func TestPutWithoutTarget(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("iptables", "echo iptables v1.8.9 '(legacy)'\n")
	script("iptables-restore", "cat >"+dir+"/stdin; echo \"$@\" >"+dir+"/args\necho '# Warning: iptables-legacy tables present' >&2\necho \"iptables-restore v1.8.9: Couldn't load target \\`DSCP'\" >&2\nexit 2\n")
	tab, err := Open(filepath.Join(dir, "iptables"))
	if err != nil {
		t.Fatal(err)
	}
	to, _ := Want(Rules([]model.Mark{{Device: stb, Address: addr("192.168.1.5"), Class: model.ClassStreaming}}, "br-lan"))
	err = tab.Put(context.Background(), State{}, to)
	if !errors.Is(err, ErrUnsupported) || strings.Contains(err.Error(), "Warning") || !strings.Contains(err.Error(), "load target") {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(dir + "/args"); string(b) != "--noflush --wait=5\n" {
		t.Errorf("arguments %q", b)
	}
	if b, _ := os.ReadFile(dir + "/stdin"); !strings.HasPrefix(string(b), "*mangle\n:HOMECONF_MARK - [0:0]\n-A ") {
		t.Errorf("input %q", b)
	}
}

func TestParseVersion(t *testing.T) {
	for said, want := range map[string][]int{
		"iptables v1.8.9 (nf_tables)\n": {1, 8, 9},
		"iptables v1.8.10 (legacy)":     {1, 8, 10},
		"iptables v1.4.21\n":            {1, 4, 21},
		"iptables v1.8":                 nil,
		"iptables v1.8.x":               nil,
		"iptables v-1.8.9":              nil,
		"":                              nil,
		"no program":                    nil,
	} {
		got, err := parseVersion(said)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v", said, got, err)
		}
	}
}
