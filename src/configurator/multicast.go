package configurator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"homeconf/src/gateway"
	"homeconf/src/model"
)

// multicastLooks are the moments, after something changed, at which the way of
// IPTV's multicast is looked at: quickly while a picture comes up, and then less
// and less. What is not there by the last look is a finding.
var multicastLooks = []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond,
	600 * time.Millisecond, 1200 * time.Millisecond, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second}

// multicast is what is known of the way of IPTV's streams.
type multicast struct {
	for_  string // what it was looked at for: devices and their groups
	look  int
	timer *time.Timer
	done  bool
}

// watchMulticast begins to look when the devices or their groups are others
// than those that were looked at.
func (c *Configurator) watchMulticast() {
	want := c.plan.Gateway
	var of []string
	for _, m := range want.Marks {
		if len(m.Groups) > 0 {
			of = append(of, fmt.Sprint(m.Device, m.Groups))
		}
	}
	slices.Sort(of)
	if want.Multicast != nil {
		of = append(of, want.Multicast.Upstream, want.Multicast.Downstream)
	}
	key := strings.Join(of, " ")
	if key == c.mc.for_ {
		return
	}
	for id, l := range c.checks { // what was seen of the groups before says nothing of these
		c.checks[id] = slices.DeleteFunc(l, aboutMulticast)
	}
	c.mc.for_, c.mc.look, c.mc.done = key, 0, key == ""
	if c.mc.timer != nil {
		c.mc.timer.Stop()
	}
	if !c.mc.done {
		c.mc.timer = c.after(multicastLooks[0], c.lookAtMulticast)
	} else {
		c.note("multicast", nil)
	}
}

func (c *Configurator) lookAtMulticast() {
	key, want := c.mc.for_, c.plan.Gateway
	c.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		checks, err := c.cfg.Gateway.VerifyMulticast(ctx, want)
		return func() {
			if c.mc.for_ == key {
				c.multicastSeen(checks, err)
			}
		}
	})
}

func (c *Configurator) multicastSeen(checks []model.Check, err error) {
	c.mc.look++
	last := c.mc.look >= len(multicastLooks)
	all := err == nil
	per := map[model.DeviceID][]model.Check{}
	for _, k := range checks {
		per[k.Device] = append(per[k.Device], k)
		all = all && k.OK
	}
	for id, l := range per {
		c.checks[id] = append(slices.DeleteFunc(c.checks[id], aboutMulticast), l...)
	}
	switch {
	case all:
		c.mc.done = true
		c.note("multicast", nil)
		for id, l := range per {
			if id != "" {
				c.tell("multicast.verified", id, "gateway", "The multicast path was looked at, and carries what this device asked for.", seen(l)...)
			}
		}
	case last:
		c.mc.done = true
		c.note("multicast", multicastFindings(checks, err))
	default:
		c.mc.timer = c.after(multicastLooks[c.mc.look]-multicastLooks[c.mc.look-1], c.lookAtMulticast)
	}
}

func aboutMulticast(k model.Check) bool {
	return k.What == gateway.WhatProxy || k.What == gateway.WhatGroup || k.What == gateway.WhatStream
}

func multicastFindings(checks []model.Check, err error) []model.Finding {
	if err != nil {
		return []model.Finding{{Kind: "multicast.unreadable",
			Text: fmt.Sprintf("The way of IPTV's multicast could not be looked at: %v", err),
			Step: "See the message; it is looked at again when something changes."}}
	}
	var found []model.Finding
	for _, k := range checks {
		if k.OK {
			continue
		}
		f := model.Finding{ID: model.FindingID("multicast."+k.What, k.Device), Kind: "multicast." + k.What, Device: k.Device}
		switch k.What {
		case gateway.WhatProxy:
			f.Text = fmt.Sprintf("The gateway's IGMP proxy does not pass IPTV on: %s.", k.Seen)
			f.Step = "Look at the proxy's own log (logread -e igmpproxy)."
		case gateway.WhatGroup:
			f.Text = fmt.Sprintf("A channel was asked for at home, but the gateway did not ask the provider for it: %s.", k.Seen)
			f.Step = "Check that the IGMP proxy's upstream is the network on which the provider sends IPTV (option iptv_network)."
		default:
			f.Text = fmt.Sprintf("The provider sends nothing on a channel that was asked for: %s.", k.Seen)
			f.Step = "Try another channel; if none comes, check option altnet, which lists the provider's senders, or call the provider."
		}
		found = append(found, f)
	}
	return found
}
