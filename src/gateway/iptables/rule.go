// Package iptables keeps homeconf's DSCP marks in a chain of its own in the
// mangle table. It needs the iptables program, legacy or nft, and changes the
// chain as a whole, in one iptables-restore and so in one kernel transaction:
// at no moment is a wanted mark missing.
package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	"homeconf/src/model"
)

const (
	table = "mangle"
	// Chain is our chain. FORWARD sees what the gateway forwards, unicast and
	// multicast; the gateway's own traffic needs no mark of ours.
	Chain  = "HOMECONF_MARK"
	parent = "FORWARD"
	jump   = "-A " + parent + " -j " + Chain
)

// maxComment is the length of a comment. The kernel takes 255 bytes
// (XT_MAX_COMMENT_LEN), some versions of iptables-nft fewer.
const maxComment = 200

// maxOwners is how many devices a comment names.
const maxOwners = 8

// Rule is one mark: what goes to Dst (and, with Out set, leaves by that
// interface) gets the codepoint.
type Rule struct {
	Dst     netip.Addr
	Out     string
	DSCP    uint8
	Devices []model.DeviceID // whose it is; several may have joined one group
	Reason  string
}

// Rules makes the rules for marks. A group that several devices have joined
// gets one rule, with the most urgent of their classes.
func Rules(marks []model.Mark, lan string) []Rule {
	order := map[model.TrafficClass]int{}
	for i, c := range model.TrafficClasses() {
		order[c] = i
	}
	sorted := slices.Clone(marks)
	sort.SliceStable(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		return cmp.Or(order[a.Class]-order[b.Class], strings.Compare(string(a.Device), string(b.Device)), a.Address.Compare(b.Address)) < 0
	})
	var out []Rule
	at := map[netip.Addr]int{}
	put := func(dst netip.Addr, dev string, m model.Mark, dscp uint8) {
		if i, ok := at[dst]; ok {
			if !slices.Contains(out[i].Devices, m.Device) {
				out[i].Devices = append(out[i].Devices, m.Device)
			}
			return
		}
		at[dst] = len(out)
		out = append(out, Rule{Dst: dst, Out: dev, DSCP: dscp, Devices: []model.DeviceID{m.Device}, Reason: m.Reason})
	}
	for _, m := range sorted {
		dscp, ok := m.Class.DSCP()
		if !ok {
			continue
		}
		put(m.Address, "", m, dscp)
		for _, g := range m.Groups {
			put(g, lan, m, dscp)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Dst.Less(out[j].Dst) })
	return out
}

// comment names the owners and the reason, in characters that need no quoting
// in any version of iptables.
func (r Rule) comment() string {
	var b strings.Builder
	b.WriteString("homeconf")
	for i, d := range r.Devices {
		if i == maxOwners {
			fmt.Fprintf(&b, " +%d", len(r.Devices)-i)
			break
		}
		b.WriteString(" " + string(d))
	}
	b.WriteString(": " + r.Reason)
	s := strings.Map(func(c rune) rune {
		switch {
		case c < ' ' || c > '~', c == '"', c == '\'', c == '\\', c == '`', c == '$':
			return '_'
		}
		return c
	}, b.String())
	return strings.TrimSpace(s[:min(len(s), maxComment)])
}

// String is the rule as iptables -S prints it, and as iptables-restore reads it.
func (r Rule) String() string {
	out := ""
	if r.Out != "" {
		out = " -o " + r.Out
	}
	return fmt.Sprintf(`-A %s -d %s/32%s -m comment --comment "%s" -j DSCP --set-dscp 0x%02x`, Chain, r.Dst, out, r.comment(), r.DSCP)
}

// Mark is what a rule of ours says, as the kernel has it.
type Mark struct {
	Dst     netip.Prefix
	Out     string
	DSCP    uint8
	Comment string
	Devices []model.DeviceID // that the comment names
}

// Parse reads a line of iptables -S, whatever the order of its options; false
// when it is no mark of ours.
func Parse(line string) (Mark, bool) {
	words, ok := split(line)
	if !ok || len(words) < 2 || len(words)%2 != 0 || words[0] != "-A" || words[1] != Chain {
		return Mark{}, false
	}
	opts := map[string]string{}
	for i := 2; i < len(words); i += 2 {
		if _, twice := opts[words[i]]; twice {
			return Mark{}, false
		}
		opts[words[i]] = words[i+1]
	}
	take := func(k string) string { v := opts[k]; delete(opts, k); return v }
	dst, err := netip.ParsePrefix(take("-d"))
	if err != nil || take("-m") != "comment" || take("-j") != "DSCP" {
		return Mark{}, false
	}
	dscp, err := strconv.ParseUint(take("--set-dscp"), 0, 6)
	if err != nil {
		return Mark{}, false
	}
	m := Mark{Dst: dst, Out: take("-o"), DSCP: uint8(dscp), Comment: take("--comment")}
	if len(opts) > 0 {
		return Mark{}, false
	}
	owners, _, _ := strings.Cut(m.Comment, ":")
	for _, w := range strings.Fields(owners) {
		if id := model.DeviceID(w); id.Valid() {
			m.Devices = append(m.Devices, id)
		}
	}
	return m, true
}

// canonical brings a line of iptables -S into the form of Rule.String; a line
// that is no mark of ours stays as it is.
func canonical(line string) string {
	m, ok := Parse(line)
	if !ok {
		return line
	}
	out := ""
	if m.Out != "" {
		out = " -o " + m.Out
	}
	return fmt.Sprintf(`-A %s -d %s%s -m comment --comment "%s" -j DSCP --set-dscp 0x%02x`, Chain, m.Dst, out, m.Comment, m.DSCP)
}

// split divides a line as iptables -S quotes it: words in double quotes, with
// '"' and '\' escaped by a backslash.
func split(line string) ([]string, bool) {
	var words []string
	var w strings.Builder
	in, quoted := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line):
			i++
			w.WriteByte(line[i])
			in = true
		case c == '"':
			quoted, in = !quoted, true
		case c == ' ' && !quoted:
			if in {
				words = append(words, w.String())
				w.Reset()
				in = false
			}
		default:
			w.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, w.String())
	}
	return words, !quoted
}

// DeviceName says whether a name may stand in a rule.
func DeviceName(s string) bool {
	if s == "" || len(s) > 15 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_.-@", rune(c)) {
			return false
		}
	}
	return true
}
