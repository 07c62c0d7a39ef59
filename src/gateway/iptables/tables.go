package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrUnsupported says that this gateway can't mark: there is no iptables
// program, or it lacks the DSCP target.
var ErrUnsupported = errors.New("marking by iptables is not possible here")

// lockWait is how many seconds we wait for the xtables lock. go-iptables and
// iptables would wait without an end.
const lockWait = 5

// Tables is the mangle table through one iptables program. go-iptables finds out
// what program it is, and lists (see lister); rules are written by its
// iptables-restore, all in one transaction, for go-iptables writes them one by
// one.
type Tables struct {
	ipt     lister
	restore string
	wait    []string
}

// Open looks for the program: a path, a name in PATH ("iptables-nft"), or ""
// for "iptables". Which program is taken decides between legacy and nft.
func Open(program string) (*Tables, error) {
	if program == "" {
		program = "iptables"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: look for the program: %w", ErrUnsupported, err)
	}
	restore, err := exec.LookPath(path + "-restore")
	if err != nil {
		return nil, fmt.Errorf("%w: look for the program: %w", ErrUnsupported, err)
	}
	ipt, version, err := newLister(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnsupported, path, err)
	}
	t := &Tables{ipt: ipt, restore: restore}
	// iptables-restore knows --wait since 1.6.2.
	if slices.Compare(version, []int{1, 6, 2}) >= 0 {
		t.wait = []string{"--wait=" + strconv.Itoa(lockWait)}
	}
	return t, nil
}

// State is what is there of ours.
type State struct {
	Jumps int      // from FORWARD; one is right
	Chain bool     // our chain exists
	Rules []string // its rules, in the form of Rule.String
}

// Empty says that nothing of ours is there.
func (s State) Empty() bool { return s.Jumps == 0 && !s.Chain }

// Has says whether a rule is in force: in the chain, and the chain jumped to.
func (s State) Has(r Rule) bool { return s.Jumps > 0 && slices.Contains(s.Rules, r.String()) }

// Read looks at what is there.
func (t *Tables) Read(ctx context.Context) (State, error) {
	var s State
	if err := ctx.Err(); err != nil {
		return s, err
	}
	lines, err := t.ipt.List(table, parent)
	if err != nil {
		return s, fmt.Errorf("list chain %s of table %s: %w", parent, table, err)
	}
	for _, l := range lines {
		if l == jump {
			s.Jumps++
		}
	}
	lines, err = t.ipt.List(table, Chain)
	switch {
	case exitStatus(err) == 1:
		// iptables-nft calls a missing chain incompatible, so the words say
		// nothing; a table that can't be read failed above already.
		return s, nil
	case err != nil:
		return s, fmt.Errorf("list chain %s of table %s: %w", Chain, table, err)
	}
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "-N "):
			s.Chain = true
		case strings.HasPrefix(l, "-A "):
			s.Rules = append(s.Rules, canonical(l))
		}
	}
	return s, nil
}

// Want is the state that holds exactly these rules.
func Want(rules []Rule) (State, error) {
	if len(rules) == 0 {
		return State{}, nil
	}
	s := State{Jumps: 1, Chain: true}
	for _, r := range rules {
		if !r.Dst.Is4() || r.DSCP > 63 || r.Out != "" && !DeviceName(r.Out) {
			return State{}, fmt.Errorf("rule for %s by %.20q with codepoint %d can't be written", r.Dst, r.Out, r.DSCP)
		}
		s.Rules = append(s.Rules, r.String())
	}
	return s, nil
}

// Equal says whether two states are the same. The order of rules counts.
func (s State) Equal(o State) bool {
	return s.Jumps == o.Jumps && s.Chain == o.Chain && slices.Equal(s.Rules, o.Rules)
}

// Put brings the kernel from one state to another, in one transaction.
func (t *Tables) Put(ctx context.Context, from, to State) error {
	if from.Equal(to) {
		return nil
	}
	err := t.run(ctx, script(from, to, true))
	if err != nil && to.Empty() && from.Chain {
		// Somebody's rule may jump to our chain, and so hold it. Empty it
		// and leave the name; a person finds why in the kernel's answer.
		if t.run(ctx, script(from, to, false)) == nil {
			return fmt.Errorf("remove chain %s (it is empty now): %w", Chain, err)
		}
	}
	return err
}

// script is the input of iptables-restore --noflush.
func script(from, to State, remove bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%s\n", table)
	if to.Chain || from.Chain {
		// Makes the chain, or empties it.
		fmt.Fprintf(&b, ":%s - [0:0]\n", Chain)
	}
	for _, r := range to.Rules {
		b.WriteString(r + "\n")
	}
	// At the top, so that a person's own marks, further down, have the last
	// word.
	for range max(to.Jumps-from.Jumps, 0) {
		fmt.Fprintf(&b, "-I %s 1 -j %s\n", parent, Chain)
	}
	for range max(from.Jumps-to.Jumps, 0) {
		fmt.Fprintf(&b, "-D %s -j %s\n", parent, Chain)
	}
	if from.Chain && !to.Chain && remove {
		fmt.Fprintf(&b, "-X %s\n", Chain)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func (t *Tables) run(ctx context.Context, script string) error {
	ctx, cancel := context.WithTimeout(ctx, (lockWait+1)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.restore, append([]string{"--noflush"}, t.wait...)...)
	cmd.Stdin = strings.NewReader(script)
	cmd.WaitDelay = 100 * time.Millisecond
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if err == nil {
		return nil
	}
	msg := stderr.String()
	err = fmt.Errorf("%s: %w: %s", t.restore, err, firstLine(msg))
	for _, lacking := range []string{"Couldn't load target", "Couldn't load match", "missing kernel module", "No chain/target/match by that name"} {
		if strings.Contains(msg, lacking) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return err
}

// firstLine is the first line of an error output that is no mere warning.
func firstLine(s string) string {
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			return l[:min(len(l), 200)]
		}
	}
	return "no message"
}
