package plan

import (
	"strconv"
	"strings"
	"unicode"

	"homeconf/src/model"
)

// wordsLimit bounds what is quoted of a stranger's text, in runes.
const wordsLimit = 64

// words makes a stranger's text fit to be shown: one line, bounded, nothing
// that a terminal would obey or that turns the direction of writing.
func words(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == wordsLimit {
			b.WriteString("…")
			break
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

func quote(s string) string { return "\"" + strings.ReplaceAll(words(s), "\"", "'") + "\"" }

// title is what a device is called in a text, with its id.
func title(r *model.Record) string {
	if name := r.Name(); name != string(r.ID) {
		return quote(name) + " (" + string(r.ID) + ")"
	}
	return string(r.ID)
}

func sectionOf(h *model.HostEntry) string {
	if h.Name != "" {
		return quote(h.Name)
	}
	return "section " + quote(h.Section)
}

func count(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func mbps(n uint64) string { return strconv.FormatUint(n, 10) + " Mbit/s" }

// String prints the plan as people read it: the devices by id, then the home,
// then what was found.
func (p Plan) String() string {
	var b strings.Builder
	last := model.DeviceID("?")
	for _, l := range p.Lines {
		if l.Device != last {
			last = l.Device
			if last == "" {
				b.WriteString("home\n")
			} else {
				b.WriteString(string(last) + "\n")
			}
		}
		value := l.Value
		if l.What == WhatProfile {
			value = words(value)
		}
		b.WriteString("  " + l.What + strings.Repeat(" ", max(1, 12-len(l.What))) + value + "\n")
		b.WriteString("              " + l.Reason + "\n")
	}
	if len(p.Lines) == 0 {
		b.WriteString("nothing to do: no device is set up by homeconf\n")
	}
	for i, f := range p.Findings {
		if i == 0 {
			b.WriteString("findings\n")
		}
		b.WriteString("  " + f.ID + "\n    " + f.Text + "\n    → " + f.Step + "\n")
	}
	return b.String()
}
