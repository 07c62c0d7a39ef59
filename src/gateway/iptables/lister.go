package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// lister lists the rules of a chain as iptables -S prints them. go-iptables is
// the one that is used; but it brings regexp, 270 KB on MIPS, more than such
// routers have to spare, so there ownLister stands in for it. The tests hold one
// against the other.
type lister interface {
	List(table, chain string) ([]string, error)
	ListChains(table string) ([]string, error)
}

// ownLister does of go-iptables what is needed here.
type ownLister struct {
	path string
	wait []string
}

func newOwnLister(path string) (*ownLister, []int, error) {
	l := &ownLister{path: path}
	said, err := l.run("--version")
	if err != nil {
		return nil, nil, err
	}
	version, err := parseVersion(said)
	if err != nil {
		return nil, nil, err
	}
	l.wait = []string{"--wait", strconv.Itoa(lockWait)}
	return l, version, nil
}

// parseVersion reads what --version says: "iptables v1.8.9 (nf_tables)".
func parseVersion(said string) ([]int, error) {
	_, s, _ := strings.Cut(said, " v")
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	var version []int
	for _, p := range strings.Split(word, ".") {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("no version in %.60q", said)
		}
		version = append(version, n)
	}
	if len(version) != 3 {
		return nil, fmt.Errorf("no version in %.60q", said)
	}
	return version, nil
}

// List implements lister.
func (l *ownLister) List(table, chain string) ([]string, error) {
	out, err := l.run(append([]string{"-t", table, "-S", chain}, l.wait...)...)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n"), nil
}

// ListChains implements lister: the built-in chains and those that were made.
func (l *ownLister) ListChains(table string) ([]string, error) {
	out, err := l.run(append([]string{"-t", table, "-S"}, l.wait...)...)
	if err != nil {
		return nil, err
	}
	var chains []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 2 && (f[0] == "-P" || f[0] == "-N") {
			chains = append(chains, f[1])
		}
	}
	return chains, nil
}

func (l *ownLister) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), (lockWait+1)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.path, args...)
	cmd.WaitDelay = 100 * time.Millisecond
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", l.path, err, firstLine(stderr.String()))
	}
	return stdout.String(), nil
}

// exitStatus is that of a program which ended with an error, else -1.
func exitStatus(err error) int {
	var status interface{ ExitStatus() int } // go-iptables' error
	if errors.As(err, &status) {
		return status.ExitStatus()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
