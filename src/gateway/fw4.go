package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"homeconf/src/gateway/iptables"
	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
)

// firewall says what rules the packets here. An OpenWrt has one of two programs
// that make rules of UCI; a plain Linux gateway has iptables or nothing that we
// could use.
func (r *Router) firewall() model.Firewall {
	for _, fw := range []struct {
		program string
		is      model.Firewall
	}{{"sbin/fw4", model.FirewallFW4}, {"sbin/fw3", model.FirewallFW3}} {
		if _, err := os.Stat(filepath.Join(r.cfg.Root, fw.program)); err == nil {
			return fw.is
		}
	}
	if _, err := r.tables(); err == nil {
		return model.FirewallIPTables
	}
	return model.FirewallNone
}

// marksByUCI says that marks go through fw4's own configuration: images from
// 22.03 on come without an iptables program.
func (r *Router) marksByUCI() bool {
	if r.firewall() != model.FirewallFW4 {
		return false
	}
	_, err := r.tables()
	return errors.Is(err, iptables.ErrUnsupported)
}

// maxRuleName keeps within what nft takes as a comment (128 bytes), to which fw4
// adds its own prefix: a longer one would fail the whole ruleset.
const maxRuleName = 80

// uciMarks are the rules as sections of the firewall package.
func (r *Router) uciMarks(allowed model.GatewayState) []gwuci.MarkRule {
	file := r.lenient("firewall")
	var out []gwuci.MarkRule
	for _, rule := range iptables.Rules(allowed.Marks, r.cfg.LANDevice) {
		m := gwuci.MarkRule{Device: rule.Devices[0], Dst: rule.Dst, DSCP: rule.DSCP, Name: "homeconf"}
		for _, d := range rule.Devices {
			if len(m.Name)+1+len(d) <= maxRuleName {
				m.Name += " " + string(d)
			}
		}
		if rule.Out != "" {
			m.Zone = gwuci.Zone(file, r.cfg.LANNetwork)
		}
		out = append(out, m)
	}
	return out
}

// uciMarkWriter writes the firewall package. Where marks go another way, it
// takes away what it wrote there before that way was open.
func (r *Router) uciMarkWriter(allowed model.GatewayState) writer {
	var saved gwuci.Saved
	return writer{
		name: WhatMark,
		write: func(ctx context.Context) ([]Step, error) {
			var want []gwuci.MarkRule
			if r.marksByUCI() {
				want = r.uciMarks(allowed)
			} else if len(gwuci.Marks(r.lenient("firewall"))) == 0 {
				return nil, nil
			}
			known := false
			done, old, err := gwuci.SetMarks(ctx, r.dir, func() error { known = r.seen("firewall"); return r.pending.begin("firewall") }, want)
			saved = old
			if err != nil {
				return nil, fmt.Errorf("write marks: %w", err)
			}
			if known && len(done) > 0 {
				r.wrote("firewall")
			}
			var steps []Step
			for _, d := range done {
				steps = append(steps, Step{Action(d.Op), WhatMark, d.Device, fmt.Sprintf("%s in section %s of /etc/config/firewall", d.Address, d.Section)})
			}
			return steps, nil
		},
		undo: func(ctx context.Context) error { return saved.Restore(ctx, r.dir) },
	}
}

// verifyUCIMarks looks for the rules in what fw4 has loaded, again and again
// until ctx ends: it may still be loading.
func (r *Router) verifyUCIMarks(ctx context.Context, want model.GatewayState, ids []model.DeviceID) ([]model.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	rules := iptables.Rules(want.Marks, r.cfg.LANDevice)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		out, err := exec.CommandContext(ctx, r.cfg.NFT, "-n", "list", "table", "inet", "fw4").Output()
		loaded := parseMarks(string(out))
		missing := false
		var checks []model.Check
		for _, rule := range rules {
			c := model.Check{What: WhatMark, Seen: fmt.Sprintf("fw4 has no rule for %s with codepoint %d", rule.Dst, rule.DSCP)}
			if seen, ok := loaded[rule.Dst]; ok && seen.dscp == rule.DSCP {
				c.OK, c.Seen = true, seen.text
			}
			for _, d := range rule.Devices {
				if wanted(d, ids) {
					c.Device = d
					checks = append(checks, c)
					missing = missing || !c.OK
				}
			}
		}
		if !missing || len(checks) == 0 {
			return checks, nil
		}
		sleep(ctx, pause)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return checks, fmt.Errorf("read the marks back: list table inet fw4: %w", err)
			}
			return checks, nil
		}
	}
}

// loadedMark is a rule as nft prints it.
type loadedMark struct {
	dscp uint8
	text string
}

// parseMarks finds the rules of nft's listing that set a codepoint for one
// destination: "ip daddr 192.168.1.50 counter … ip dscp set 0x18 comment …".
func parseMarks(listing string) map[netip.Addr]loadedMark {
	out := map[netip.Addr]loadedMark{}
	for l := range strings.Lines(listing) {
		l = strings.TrimSpace(l)
		_, after, ok := strings.Cut(l, "ip daddr ")
		_, set, ok2 := strings.Cut(l, "ip dscp set ")
		if !ok || !ok2 {
			continue
		}
		word, _, _ := strings.Cut(after, " ")
		code, _, _ := strings.Cut(set, " ")
		dst, err := netip.ParseAddr(word)
		n, err2 := strconv.ParseUint(code, 0, 6)
		if err != nil || err2 != nil {
			continue
		}
		out[dst] = loadedMark{uint8(n), l[:min(len(l), 200)]} // setting ends nothing: the last rule has its way
	}
	return out
}
