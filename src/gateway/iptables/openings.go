package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"homeconf/src/model"
)

// OpenChain accepts what NATChain has led from the outside to a device. What is
// neither led nor accepted by us meets the gateway's own rules.
const (
	OpenChain = "HOMECONF_OPEN"
	NATChain  = "HOMECONF_NAT"
)

// openings are the chains of port openings, in the order in which they are
// written: a packet is accepted before the first one is led there.
var openings = [2]chain{
	{"filter", "FORWARD", OpenChain, canonicalOpening},
	{"nat", "PREROUTING", NATChain, canonicalOpening},
}

// Openings are our two chains of port openings.
type Openings [2]State

// Equal says whether two states are the same.
func (o Openings) Equal(p Openings) bool { return o[0].Equal(p[0]) && o[1].Equal(p[1]) }

// Empty says that nothing of ours is there.
func (o Openings) Empty() bool { return o[0].Empty() && o[1].Empty() }

// Has says whether an opening is in force.
func (o Openings) Has(r model.Redirect, wan string) bool {
	want := [2]string{acceptRule(r, wan), natRule(r, wan)}
	for i, s := range o {
		if s.Jumps == 0 || !slices.Contains(s.Rules, want[i]) {
			return false
		}
	}
	return true
}

// WantOpenings are the chains that hold exactly these openings, for what comes
// in by a device.
func WantOpenings(redirects []model.Redirect, wan string) (Openings, error) {
	var o Openings
	if len(redirects) == 0 {
		return o, nil
	}
	if !DeviceName(wan) {
		return o, fmt.Errorf("openings can't be written without the device of the outside (%.20q)", wan)
	}
	o = Openings{{Jumps: 1, Chain: true}, {Jumps: 1, Chain: true}}
	for _, r := range redirects {
		if !r.Address.Is4() || !r.Outer().Valid() || r.Port == 0 {
			return o, fmt.Errorf("opening of %s to %s can't be written", r.Outer(), r.Address)
		}
		o[0].Rules = append(o[0].Rules, acceptRule(r, wan))
		o[1].Rules = append(o[1].Rules, natRule(r, wan))
	}
	return o, nil
}

const (
	stamp = "2006-01-02T15:04:05"
	// An option's value that is empty in one of the chains is left out there.
	inNAT, inOpen = "DNAT", "ACCEPT"
)

func acceptRule(r model.Redirect, wan string) string {
	return openingRule(OpenChain, map[string]string{"-d": r.Address.String() + "/32", "--dport": strconv.Itoa(int(r.Port)), "--ctstate": "DNAT", "-j": inOpen}, r, wan)
}

func natRule(r model.Redirect, wan string) string {
	return openingRule(NATChain, map[string]string{"--dport": strconv.Itoa(int(r.External)), "-j": inNAT,
		"--to-destination": netip.AddrPortFrom(r.Address, r.Port).String()}, r, wan)
}

func openingRule(chain string, opts map[string]string, r model.Redirect, wan string) string {
	opts["-i"], opts["-p"] = wan, string(r.Protocol)
	opts["--datestart"], opts["--datestop"] = date(r.Start), date(r.Stop)
	opts["--comment"] = Rule{Devices: []model.DeviceID{r.Device}, Reason: r.Reason}.comment()
	return printOpening(chain, opts)
}

// date is a moment as the time match knows it: in UTC, from the year 1970 to
// January 2038.
func date(t time.Time) string {
	t = t.UTC()
	if t.Unix() < 0 {
		t = time.Unix(0, 0).UTC()
	}
	if t.After(model.LastStop) {
		t = model.LastStop
	}
	return t.Format(stamp)
}

// printed has the options in the order of iptables -S, and the match that goes
// before each.
var printed = []struct{ option, match string }{
	{"-d", ""}, {"-i", ""}, {"-p", ""}, {"--dport", "protocol"}, {"--ctstate", "conntrack"}, {"--datestart", "time"}, {"--datestop", ""},
	{"--comment", "comment"}, {"-j", ""}, {"--to-destination", ""},
}

func printOpening(chain string, opts map[string]string) string {
	var b strings.Builder
	b.WriteString("-A " + chain)
	for _, p := range printed {
		v, ok := opts[p.option]
		if !ok {
			continue
		}
		switch p.match {
		case "":
		case "protocol":
			b.WriteString(" -m " + opts["-p"])
		default:
			b.WriteString(" -m " + p.match)
		}
		if p.option == "--comment" {
			v = `"` + v + `"`
		}
		b.WriteString(" " + p.option + " " + v)
	}
	return b.String()
}

// canonicalOpening brings a line of iptables -S into the form of printOpening; a
// line that is no opening of ours stays as it is.
func canonicalOpening(line string) string {
	opts, chain := openingOptions(line)
	if opts == nil {
		return line
	}
	return printOpening(chain, opts)
}

// openingOptions has a rule's options by their names; none when there is one that
// our rules don't have.
func openingOptions(line string) (opts map[string]string, chain string) {
	words, ok := split(line)
	if !ok || len(words) < 2 || len(words)%2 != 0 || words[0] != "-A" || words[1] != OpenChain && words[1] != NATChain {
		return nil, ""
	}
	opts = map[string]string{}
	for i := 2; i < len(words); i += 2 {
		if words[i] == "-m" {
			continue // what it brings follows
		}
		if _, twice := opts[words[i]]; twice || !slices.ContainsFunc(printed, func(p struct{ option, match string }) bool { return p.option == words[i] }) {
			return nil, ""
		}
		if words[i] == "--comment" && strings.ContainsAny(words[i+1], `"\`) || words[i] != "--comment" && !plainWord(words[i+1]) {
			return nil, ""
		}
		opts[words[i]] = words[i+1]
	}
	if opts["-p"] == "" {
		return nil, ""
	}
	return opts, words[1]
}

// plainWord says whether a value stands in a rule as it is.
func plainWord(s string) bool { return s != "" && !strings.ContainsAny(s, " \t\"\\") }

// ParseOpening reads a rule of NATChain.
func ParseOpening(rule string) (r model.Redirect, ok bool) {
	opts, chain := openingOptions(rule)
	if chain != NATChain || opts["-j"] != inNAT {
		return r, false
	}
	to, err := netip.ParseAddrPort(opts["--to-destination"])
	n, err2 := strconv.ParseUint(opts["--dport"], 10, 16)
	if err != nil || err2 != nil || !to.Addr().Is4() {
		return r, false
	}
	r = model.Redirect{Protocol: model.Protocol(opts["-p"]), External: uint16(n), Address: to.Addr(), Port: to.Port()}
	r.Start, _ = time.Parse(stamp, opts["--datestart"])
	r.Stop, _ = time.Parse(stamp, opts["--datestop"])
	head, reason, _ := strings.Cut(opts["--comment"], ": ")
	if id := model.DeviceID(strings.TrimPrefix(head, "homeconf ")); id.Valid() {
		r.Device = id
	}
	r.Reason = reason
	return r, r.Outer().Valid()
}

// ReadOpenings looks at what is there.
func (t *Tables) ReadOpenings(ctx context.Context) (o Openings, err error) {
	for i, c := range openings {
		if o[i], err = t.read(ctx, c); err != nil {
			return Openings{}, err
		}
	}
	return o, nil
}

// PutOpenings brings the kernel from one state to another, by one
// iptables-restore: additions open the filter first, removals the NAT.
func (t *Tables) PutOpenings(ctx context.Context, from, to Openings) error {
	if from.Equal(to) {
		return nil
	}
	parts := []string{openings[0].script(from[0], to[0], true), openings[1].script(from[1], to[1], true)}
	if to.Empty() {
		slices.Reverse(parts)
	}
	return t.run(ctx, strings.Join(parts, ""))
}

// PortsLed lists the ports that rules of others' in the nat table lead
// elsewhere, but for what comes in by the LAN, and for what fw3 made of the
// firewall package.
func (t *Tables) PortsLed(ctx context.Context, lan string) ([]model.Occupied, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	chains, err := t.ipt.ListChains("nat")
	if err != nil {
		return nil, fmt.Errorf("list the chains of table nat: %w", err)
	}
	var out []model.Occupied
	for _, c := range chains {
		if c == NATChain || c == "OUTPUT" || c == "POSTROUTING" || strings.HasPrefix(c, "zone_") {
			continue
		}
		lines, err := t.ipt.List("nat", c)
		if err != nil {
			return nil, fmt.Errorf("list chain %s of table nat: %w", c, err)
		}
		for _, l := range lines {
			out = append(out, ledBy(l, lan)...)
		}
		if len(out) > maxLed {
			return out[:maxLed], nil
		}
	}
	return out, nil
}

// maxLed bounds the foreign ranges that are kept.
const maxLed = 4096

// ledBy reads which ports a line of iptables -S leads elsewhere.
func ledBy(line, lan string) []model.Occupied {
	words, ok := split(line)
	if !ok || len(words) < 2 || words[0] != "-A" {
		return nil
	}
	o := model.Occupied{First: 1, Last: 65535, By: "a rule of chain " + words[1] + " in the firewall's nat table"}
	leads := false
	var ports string
	for i := 2; i+1 < len(words); i++ {
		not := words[i-1] == "!"
		switch v := words[i+1]; words[i] {
		case "-j":
			leads = v == "DNAT" || v == "REDIRECT"
		case "-i":
			if v == lan && !not {
				return nil
			}
		case "-p":
			switch {
			case not:
			case v == "tcp" || v == "udp":
				o.Protocol = model.Protocol(v)
			case v != "all":
				return nil
			}
		case "--dport", "--dports":
			if !not {
				ports = v
			}
		}
	}
	if !leads {
		return nil
	}
	return o.Ranges(ports)
}
