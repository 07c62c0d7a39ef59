package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// printers has one for each call: what a person reads. A test compares it with
// the table.
var printers = map[string]func(io.Writer, json.RawMessage) error{
	"status":          as(printStatus),
	"device_list":     as(printDevices),
	"device_show":     as(printDevice),
	"device_adopt":    as(printAdopted),
	"device_refuse":   as(printDone),
	"device_set":      as(printChosen),
	"pair":            as(printPair),
	"pair_code":       as(printCode),
	"pair_close":      as(printPair),
	"plan":            as(printPlan),
	"finding_list":    as(printFindings),
	"event_list":      as(printEvents),
	"undo":            as(printDone),
	"drift_keep":      as(printDone),
	"drift_revert":    as(printDone),
	"device_retire":   as(printDone),
	"metrics":         as(printMetrics),
	"multicast_allow": as(printDone),
	"home_leave":      as(printLeft),
	"backup":          as(printBackup),
	"restore":         as(printDone),
	"key_status":      as(printKey),
	"key_rotate":      as(printKey),
	"agent_status":    as(printAgent),
	"agent_approve":   as(printDone),
	"agent_reset":     as(printDone),
}

// as decodes a result for its printer.
func as[T any](show func(io.Writer, T)) func(io.Writer, json.RawMessage) error {
	return func(w io.Writer, raw json.RawMessage) error {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		show(w, v)
		return nil
	}
}

// table prints rows in columns. Cells are made safe; none is wider than wide.
const wide = 60

func table(w io.Writer, head string, rows [][]string) {
	var all [][]string
	if head != "" {
		all = append(all, strings.Split(head, "|"))
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = cell(c, wide)
		}
		all = append(all, cells)
	}
	columns(w, all)
}

// facts prints "name  value" lines, those with a value only. Values are not cut.
type facts [][2]string

func (f *facts) add(name, value string) {
	if value != "" {
		*f = append(*f, [2]string{name, value})
	}
}

func (f facts) print(w io.Writer) {
	rows := make([][]string, len(f))
	for i, l := range f {
		rows[i] = []string{l[0], safe(l[1])}
	}
	columns(w, rows)
}

// clock is a time as people read it, in the local zone.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// precise is for events: a device is configured within a tenth of a second.
func precise(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

func yes(v bool, yes, no string) string {
	if v {
		return yes
	}
	return no
}

// join puts what isn't empty behind one another.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

func speed(mbps uint32) string {
	if mbps == 0 {
		return ""
	}
	return fmt.Sprintf("%d Mbit/s", mbps)
}

func list[T fmt.Stringer](vs []T) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		s[i] = v.String()
	}
	return strings.Join(s, " ")
}

func printDone(w io.Writer, r calls.DoneResult) { fmt.Fprintln(w, safe(r.Text)) }

func printPair(w io.Writer, r calls.PairResult) { fmt.Fprintln(w, "The "+pairing(r)+".") }

func pairing(r calls.PairResult) string {
	window := "pairing window is closed"
	if r.Open {
		window = "pairing window is open until " + clock(r.Until) + " for one device"
	}
	return join(window, codes(r.Codes))
}

func codes(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 set-up code awaits its device"
	}
	return fmt.Sprintf("%d set-up codes await their devices", n)
}

func printCode(w io.Writer, r calls.CodeResult) {
	fmt.Fprintf(w, "The device with this code may come until %s; %s.\n", clock(r.Until), codes(r.Codes))
}

func printPlan(w io.Writer, r calls.PlanResult) {
	if r.DryRun {
		fmt.Fprintln(w, "Dry run: nothing of this is done.")
	}
	if len(r.Lines) == 0 {
		fmt.Fprintln(w, "Nothing is planned.")
	}
	rows := make([][]string, len(r.Lines))
	for i, l := range r.Lines {
		rows[i] = []string{firstOf(l.Name, string(l.Device), "gateway"), l.What, l.Value, l.Reason}
	}
	if len(rows) > 0 {
		plain(w, "FOR|WHAT|VALUE|BECAUSE", rows)
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
		printFindings(w, calls.FindingsResult{Findings: r.Findings})
	}
}

// plain is a table whose last column, a sentence, is printed whole.
func plain(w io.Writer, head string, rows [][]string) {
	all := [][]string{strings.Split(head, "|")}
	for _, row := range rows {
		last := len(row) - 1
		cells := make([]string, len(row))
		for i, c := range row[:last] {
			cells[i] = cell(c, wide)
		}
		cells[last] = safe(row[last])
		all = append(all, cells)
	}
	columns(w, all)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func printFindings(w io.Writer, r calls.FindingsResult) {
	if len(r.Findings) == 0 {
		fmt.Fprintln(w, "Nothing is wrong.")
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, "- "+safe(f.Text))
		if f.Step != "" {
			fmt.Fprintln(w, "  To mend it: "+safe(f.Step))
		}
		fmt.Fprintln(w, "  ("+join(cell(f.Kind, wide), device(f.Device), since(f.Since))+")")
	}
}

func device(id model.DeviceID) string {
	if id == "" {
		return ""
	}
	return "device " + safe(string(id))
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "since " + clock(t)
}

func printEvents(w io.Writer, r calls.EventsResult) {
	if len(r.Events) == 0 {
		fmt.Fprintln(w, "Nothing has happened.")
		return
	}
	for _, e := range r.Events {
		fmt.Fprintf(w, "%6d  %s  %-*s  %s\n", e.Seq, precise(e.Time), idWidth, cell(firstOf(string(e.Device), "home"), idWidth), safe(e.Text))
		for _, c := range e.Changes {
			e.Detail = append(e.Detail, fmt.Sprintf("%s: %s → %s", c.What, firstOf(c.Before, "-"), firstOf(c.After, "-")))
		}
		for _, d := range e.Detail {
			fmt.Fprintf(w, "%*s  %s\n", len("123456  2006-01-02 15:04:05.000")+2+idWidth, "", safe(d))
		}
	}
}

// idWidth is that of the longest device id.
const idWidth = 13
