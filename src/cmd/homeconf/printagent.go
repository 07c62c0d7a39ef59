package main

import (
	"fmt"
	"io"

	"homeconf/src/calls"
)

func printAgent(w io.Writer, r calls.AgentStatusResult) {
	switch {
	case r.Problem != "":
		fmt.Fprintln(w, safe(r.Problem))
	case r.State == calls.AgentConnected:
		fmt.Fprintln(w, "Connected with its home.")
	case r.State == calls.AgentWaiting && r.Digits != "":
		fmt.Fprintln(w, "Waiting to be let in.")
	case r.State == calls.AgentAway:
		fmt.Fprintln(w, "Has a home, which doesn't answer now.")
	default:
		fmt.Fprintln(w, "Searching for a home.")
	}
	if r.Digits != "" {
		fmt.Fprintf(w, "\n    %s\n\nAt the gateway: homeconf device adopt %s --code %s\n",
			digits(r.Digits), safe(firstOf(string(r.Device), "ID")), safe(r.Digits))
	}
	if r.NeedsCode {
		fmt.Fprintln(w, "At the gateway: homeconf pair code CODE, with the set-up code on this device's label.")
	}
	if r.Homes > 1 {
		fmt.Fprintf(w, "%d homes are heard. Once yours has taken the digits, say so here: homeconf agent approve NNNNNN\n", r.Homes)
	}
	fmt.Fprintln(w)
	var f facts
	f.add("device", string(r.Device))
	f.add("home", r.Home)
	f.add("interface", join(r.Interface, r.MAC.String(), yes(r.LinkUp, "up", "down")))
	f.add("session", yes(r.Since.IsZero(), "", since(r.Since)))
	f.add("product", join(r.Info.Manufacturer, r.Info.ModelName, string(r.Info.DeviceCategory)))
	if r.Settings != nil {
		f.add("settings", settings(*r.Settings))
	}
	f.add("state", string(r.Commit))
	if r.Temporary.IsValid() {
		f.add("temporary address", r.Temporary.String())
	}
	f.add("up", join(seconds(r.UptimeSeconds), r.Version))
	f.print(w)
}

// digits are easier to compare in two groups of three.
func digits(s string) string {
	if len(s) == 6 {
		return safe(s[:3] + " " + s[3:])
	}
	return safe(s)
}
