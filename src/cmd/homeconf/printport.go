package main

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"homeconf/src/calls"
)

func printPorts(w io.Writer, r calls.PortsResult) {
	if len(r.Ports) == 0 {
		fmt.Fprintln(w, "Nothing is open to the outside.")
		return
	}
	rows := make([][]string, len(r.Ports))
	for i, p := range r.Ports {
		rows[i] = []string{p.ID, p.Name, outside(p), inside(p), p.State, until(p), join(p.Why, p.Reason)}
	}
	table(w, "ID|DEVICE|OUTSIDE|LEADS TO|STATE|UNTIL|WHY", rows)
}

func printPort(w io.Writer, p calls.Port) {
	f := facts{{"port", p.ID}, {"device", cell(firstOf(p.Name, string(p.Device)), wide)}, {"outside", outside(p)}, {"leads to", inside(p)}, {"state", join(p.State, p.Why)}}
	f.add("until", until(p))
	f.add("reason", p.Reason)
	f.print(w)
}

func outside(p calls.Port) string { return strconv.Itoa(int(p.External)) + "/" + string(p.Protocol) }

func inside(p calls.Port) string {
	if !p.Address.IsValid() {
		return "port " + strconv.Itoa(int(p.Internal))
	}
	return netip.AddrPortFrom(p.Address, p.Internal).String()
}

func until(p calls.Port) string {
	if p.State != "open" && p.State != "suspended" {
		return ""
	}
	return join(firstOf(clock(p.Until), "it is closed"), yes(p.Renewed, "renewed while seen", ""))
}
