package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homeconf/src/lab"
	"homeconf/src/lab/scene"
)

// built builds homeconf and the demo into a folder that everybody may read.
func built(t *testing.T) (demo, homeconf string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "homeconf-demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if homeconf, err = scene.Build(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	demo = filepath.Join(dir, "demo")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", demo, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return demo, homeconf
}

// output collects what a program prints, while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts the demo.
func start(t *testing.T, demo string, env ...string) (*exec.Cmd, *output, chan error) {
	t.Helper()
	cmd, out, done := exec.Command(demo), &output{}, make(chan error, 1)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	go func() { done <- cmd.Wait() }()
	return cmd, out, done
}

// nothingLeft looks for a demo's namespaces, folders and processes. Its labs'
// names begin with its process id.
func nothingLeft(t *testing.T, pid int) {
	t.Helper()
	var left []string
	for _, pattern := range []string{"/run/netns/hclab-%d-*", "/tmp/homeconf-lab/%d-*"} {
		found, err := filepath.Glob(fmt.Sprintf(pattern, pid))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		b, _ := os.ReadFile(path) // not there any more: not left
		if strings.Contains(string(b), fmt.Sprintf("homeconf-lab/%d-", pid)) {
			left = append(left, path+": "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	if len(left) > 0 {
		t.Errorf("the demo has left\n%s", strings.Join(left, "\n"))
	}
}

// TestDemo plays the whole demo, uses what it leaves running, and ends it as it
// says.
func TestDemo(t *testing.T) {
	lab.NeedGateway(t)
	demo, homeconf := built(t)
	cmd, out, done := start(t, demo, "HOMECONF="+homeconf, "KEEP=1")
	ctx, cancel := context.WithTimeout(t.Context(), 2*playTime)
	defer cancel()
	if err := scene.Until(ctx, "the demo to be played", func() (bool, error) {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v\n%s", err, out)
		default:
		}
		return strings.Contains(out.String(), "UCI files"), nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := out.String()
	for _, want := range []string{
		"PLUGGED IN → CONFIGURED AND VERIFIED, without the person's time: ", "proven: the box has no address yet",
		"proven: wrong digits do not let it in", "proven: ip addr at the box: 192.168.1.250/24", "proven: dnsmasq itself offers 192.168.1.250 to",
		"proven: iptables -t mangle: -A HOMECONF_MARK -d 192.168.1.250/32", "proven: the box reaches a host outside",
		"proven: 100 packets of the stream counted at the box", "proven: 50 frames caught at the box have DSCP 24",
		"proven: /proc/net/igmp, wan: ", "proven: /proc/net/ip_mr_cache: ", "Old box", "SIXTEEN BOXES AT ONCE", "16 different addresses",
		"Every proof holds.", "It keeps running.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	// Each command that it prints works.
	_, commands, _ := strings.Cut(text, "It keeps running.")
	n := 0
	for line := range strings.Lines(commands) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		if !regexp.MustCompile(`^(/|ip |ls )`).MatchString(line) || strings.Contains(line, " ping ") || strings.Contains(line, " down") {
			continue
		}
		n++
		if printed, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput(); err != nil || len(printed) == 0 {
			t.Errorf("%s: %v\n%s", line, err, printed)
		}
	}
	if n < 5 || !strings.Contains(commands, fmt.Sprintf("kill %d\n", cmd.Process.Pid)) {
		t.Errorf("%d commands to play with:\n%s", n, commands)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := <-done; err != nil {
		t.Errorf("ended as it says: %v", err)
	}
	nothingLeft(t, cmd.Process.Pid)
}

// TestDemoFails breaks a proof: the box has an address before it is let in.
func TestDemoFails(t *testing.T) {
	lab.NeedGateway(t)
	demo, homeconf := built(t)
	broken := filepath.Join(filepath.Dir(homeconf), "broken")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1 $2\" != 'agent --config-dir' ] || ip addr add 10.9.9.9/24 dev eth0\nexec %s \"$@\"\n", homeconf)
	if err := os.WriteFile(broken, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd, out, done := start(t, demo, "HOMECONF="+broken, "KEEP=1")
	select {
	case err := <-done:
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "FAILED: stb has the addresses [10.9.9.9/24], and should have none yet") {
			t.Errorf("%v\n%s", err, out)
		}
	case <-time.After(2 * playTime):
		t.Fatalf("it does not end:\n%s", out)
	}
	nothingLeft(t, cmd.Process.Pid)
}

// TestDemoAsAnOrdinaryUser names what is missing, and stops.
func TestDemoAsAnOrdinaryUser(t *testing.T) {
	lab.NeedGateway(t)
	demo, homeconf := built(t)
	cmd := exec.Command(demo)
	cmd.Env = []string{"HOMECONF=" + homeconf, "PATH=/usr/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "root's rights are needed for network namespaces") {
		t.Errorf("%v: %s", err, out)
	}
	nothingLeft(t, cmd.Process.Pid)
}
