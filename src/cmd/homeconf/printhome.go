package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"homeconf/src/calls"
	"homeconf/src/model"
)

func printStatus(w io.Writer, r calls.StatusResult) {
	switch {
	case r.Problem != "":
		fmt.Fprintln(w, safe(r.Problem))
	case r.Findings == 1:
		fmt.Fprintln(w, "1 finding: see `homeconf finding list`.")
	case r.Findings > 1:
		fmt.Fprintf(w, "%d findings: see `homeconf finding list`.\n", r.Findings)
	default:
		fmt.Fprintln(w, "All is well.")
	}
	fmt.Fprintln(w)
	var f facts
	f.add("home", join(r.Home, yes(r.DryRun, "dry run: nothing is changed", "")))
	f.add("configurator", join(r.Instance, "version "+firstOf(r.Version, "unknown"), "up "+seconds(r.UptimeSeconds)))
	f.add("interface", join(r.Interface, yes(r.LinkUp, "up", "down")))
	f.add("LAN", lan(r.LAN))
	f.add("WAN", wan(r.WAN, r.Rates))
	f.add("IGMP proxy", proxy(r.Multicast))
	f.add("devices", states(r.Devices))
	f.add("pairing", join(r.Pairing.Way, pairing(r.Pairing)))
	f.print(w)
	if len(r.Waiting) == 0 {
		return
	}
	fmt.Fprintln(w, "\nWaiting for your yes:")
	rows := make([][]string, len(r.Waiting))
	for i, d := range r.Waiting {
		rows[i] = []string{string(d.ID), d.Name, d.MAC.String(), d.Way, clock(d.Since)}
	}
	table(w, "ID|NAME|MAC|WAY|SINCE", rows)
	fmt.Fprintln(w, "Read the six digits at the device, then: homeconf device adopt ID --code NNNNNN")
}

func lan(l model.LAN) string {
	if !l.Prefix.IsValid() {
		return join(l.Device, "no address")
	}
	return join(l.Device, l.Prefix.String())
}

func wan(wn model.WAN, r model.Rates) string {
	if wn.Network == "" {
		return "none"
	}
	line := ""
	if r.Source != "" {
		line = fmt.Sprintf("line %d Mbit/s down, %d up (as %s says)", r.DownMbps, r.UpMbps, r.Source)
	}
	return join(wn.Device, yes(wn.Up, "up", "down"), speed(wn.SpeedMbps), line, yes(r.Shaper, "shaped", "not shaped"))
}

func proxy(m model.MulticastFact) string {
	switch {
	case m.Running:
		return join("running", yes(m.Upstream != "", "from "+m.Upstream+" to "+strings.Join(m.Downstream, " "), ""))
	case m.Configured:
		return "configured, not running"
	case m.Installed:
		return "not configured"
	}
	return "not installed"
}

func states(count map[model.DeviceState]int) string {
	total := 0
	var parts []string
	for s, n := range count {
		total += n
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if total == 0 {
		return "none yet"
	}
	slices.Sort(parts)
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}

func printDevices(w io.Writer, r calls.DevicesResult) {
	if len(r.Devices) == 0 {
		fmt.Fprintln(w, "No device has been seen yet.")
		return
	}
	rows := make([][]string, len(r.Devices))
	for i, d := range r.Devices {
		addr := ""
		if d.Address.IsValid() {
			addr = d.Address.String()
		}
		state := string(d.State)
		if d.Progress != "" {
			state += ", " + d.Progress
		}
		if d.Findings > 0 {
			state += fmt.Sprintf(", %d wrong", d.Findings)
		}
		rows[i] = []string{string(d.ID), d.Name, string(d.Category), addr, d.MAC.String(),
			yes(d.Agent, "agent", "no agent"), yes(d.Online, "here", "away"), state}
	}
	table(w, "ID|NAME|CATEGORY|ADDRESS|MAC|AGENT|NOW|STATE", rows)
}

func printAdopted(w io.Writer, d calls.DeviceSummary) {
	fmt.Fprintf(w, "%s is let in, as %s.\n", safe(d.Name), safe(string(d.ID)))
}

func printChosen(w io.Writer, d calls.DeviceSummary) {
	addr := ""
	if d.Address.IsValid() {
		addr = "address " + d.Address.String()
	}
	fmt.Fprintln(w, safe(join(string(d.ID)+": "+d.Name, string(d.Category), "profile "+firstOf(d.Profile, "unknown"), addr))+".")
}

func printDevice(w io.Writer, r calls.DeviceDetail) {
	var f facts
	f.add("device", join(r.Name, string(r.ID)))
	f.add("state", join(string(r.State), r.Progress, yes(r.Agent, "with an agent", "without an agent"), yes(r.Online, "here", "away")))
	f.add("category", join(string(r.Category), r.Why))
	if r.Needs != nil {
		f.add("profile", join(r.Profile, "address "+string(r.Needs.Address), "class "+string(r.Needs.Class),
			yes(r.Needs.Multicast, "multicast", ""), yes(r.Needs.DownMbps > 0, "needs "+speed(r.Needs.DownMbps), "")))
	} else {
		f.add("profile", r.Profile)
	}
	f.add("chosen by a person", chosen(r.Record.Choice))
	f.add("MAC", list(r.Record.MACs))
	f.add("seen", join(yes(r.Record.FirstSeen.IsZero(), "", "first "+clock(r.Record.FirstSeen)),
		yes(r.LastSeen.IsZero(), "", "last "+clock(r.LastSeen))))
	if r.Session != nil {
		f.add("session", join("open", since(r.Session.Since)))
	}
	f.print(w)
	printReported(w, r.Record.Report)
	printAsked(w, &r.Record)
	printObserved(w, r.Record.Sighting, r.Checks)
	if len(r.Plan) > 0 {
		fmt.Fprintln(w, "\nPlanned:")
		rows := make([][]string, len(r.Plan))
		for i, l := range r.Plan {
			rows[i] = []string{l.What, l.Value, l.Reason}
		}
		plain(w, "WHAT|VALUE|BECAUSE", rows)
	}
	if len(r.Problems) > 0 {
		fmt.Fprintln(w, "\nWrong:")
		printFindings(w, calls.FindingsResult{Findings: r.Problems})
	}
	if len(r.Events) > 0 {
		fmt.Fprintln(w, "\nWhat happened:")
		printEvents(w, calls.EventsResult{Events: r.Events})
	}
}

func chosen(c model.Choice) string {
	addr := ""
	if c.Address.IsValid() {
		addr = "address " + c.Address.String()
	}
	return join(yes(c.Name != "", "name "+c.Name, ""), string(c.Category), yes(c.Profile != "", "profile "+c.Profile, ""), addr)
}

// printReported is what the device says of itself.
func printReported(w io.Writer, r *model.Report) {
	if r == nil {
		return
	}
	fmt.Fprintln(w, "\nReported by its agent:")
	var f facts
	i := r.Info
	f.add("  product", join(i.Manufacturer, i.ModelName, i.ModelNumber))
	f.add("  serial number", i.SerialNumber)
	f.add("  firmware", i.SoftwareVersion)
	f.add("  host name", r.HostName)
	for _, n := range r.Interfaces {
		addrs := make([]string, len(n.Addresses))
		for k, a := range n.Addresses {
			addrs[k] = strings.TrimSpace(a.Prefix.String() + " " + string(a.Type))
		}
		f.add("  interface "+safe(n.Name), join(n.MAC.String(), string(n.Medium), yes(n.Up, "up", "down"), speed(n.SpeedMbps), strings.Join(addrs, " ")))
	}
	if r.Gateway.IsValid() {
		f.add("  gateway", r.Gateway.String())
	}
	f.add("  DNS", list(r.DNS))
	f.add("  multicast groups", list(r.Groups))
	for _, s := range r.Services {
		f.add("  service "+safe(s.Name), join(s.Kind, string(s.State)))
	}
	caps := make([]string, len(r.Capabilities))
	for k, c := range r.Capabilities {
		caps[k] = string(c)
	}
	f.add("  can change", strings.Join(caps, " "))
	f.add("  settings", fmt.Sprintf("generation %d, %s", r.Generation, r.State))
	f.print(w)
}

// printAsked is what was asked of the device.
func printAsked(w io.Writer, r *model.Record) {
	if r.Desired == nil && !r.Address.IsValid() {
		return
	}
	fmt.Fprintln(w, "\nAsked of it:")
	var f facts
	if r.Address.IsValid() {
		f.add("  reserved address", r.Address.String())
	}
	if d := r.Desired; d != nil {
		f.add("  settings", settings(*d))
		f.add("  confirmed", yes(r.Confirmed == d.Generation, "yes", "not yet"))
	}
	f.print(w)
}

func settings(s model.Settings) string {
	var addr, gw, dns string
	if s.Address.IsValid() {
		addr = s.Address.String()
	}
	if s.Gateway.IsValid() {
		gw = "gateway " + s.Gateway.String()
	}
	if len(s.DNS) > 0 {
		dns = "DNS " + list(s.DNS)
	}
	return join(fmt.Sprintf("generation %d", s.Generation), string(s.AddressingType), addr, gw, dns)
}

// printObserved is what the gateway itself sees.
func printObserved(w io.Writer, s *model.Sighting, checks []model.Check) {
	if s == nil && len(checks) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSeen by the gateway:")
	var f facts
	if s != nil {
		f.add("  host name", s.HostName)
		f.add("  addresses", list(s.Addrs))
		f.add("  bridge port", s.Port)
		f.add("  known from", strings.Join(s.Sources, " "))
	}
	for _, c := range checks {
		f.add("  "+safe(c.What), join(yes(c.OK, "as it should be", "NOT as it should be"), c.Seen))
	}
	f.print(w)
}

func printLeft(w io.Writer, r calls.LeaveResult) {
	fmt.Fprintln(w, "homeconf has left the gateway.")
	for _, d := range r.Devices {
		fmt.Fprintf(w, "  %s (%s) %s.\n", safe(d.Name), safe(string(d.ID)), safe(d.Said))
	}
	if slices.ContainsFunc(r.Devices, func(d calls.LeftDevice) bool { return d.Kept }) {
		fmt.Fprintln(w, "The reservations that stay are the sections named hc_… in /etc/config/dhcp; delete each when its device uses DHCP.")
	}
}

func printMetrics(w io.Writer, r calls.MetricsResult) {
	names := make([]string, 0, len(r))
	for name := range r {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%s %d\n", safe(name), r[name])
	}
}
