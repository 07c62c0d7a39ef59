package plan

import (
	"net/netip"
	"slices"
	"strings"

	"homeconf/src/model"
)

// stockSenders is what igmpproxy's package on OpenWrt comes with, as an example:
// no provider sends from there.
var stockSenders = netip.MustParsePrefix("192.168.1.0/24")

// mayProxy says whether the owner lets us change the IGMP proxy.
func (p *planner) mayProxy() bool {
	return p.in.Policy.ManageIGMPProxy == ProxyAlways || p.in.Policy.ManageIGMPProxy != ProxyNever && p.in.Policy.IGMPAllowed
}

// planSenders looks whether the IGMP proxy that somebody else has set up takes
// streams from where the provider sends.
func (p *planner) planSenders(need string) {
	n, f := p.in.Network, p.in.Network.Multicast
	want, lan := p.senders()
	if f.Upstream == "" {
		return
	}
	if len(want) == 0 {
		if len(lan) > 0 {
			p.find(KindProxySenders, "", "The IGMP proxy takes "+joinPrefixes(lan)+", the LAN's own addresses, for senders outside, and so heeds no device here.",
				"Take it out of altnet in /etc/config/igmpproxy.")
		}
		return
	}
	only := "no networks but its own"
	if len(f.AltNets) > 0 {
		only = joinPrefixes(f.AltNets) + " only"
	}
	if !p.mayProxy() {
		do := "Let homeconf add the provider's: homeconf multicast allow"
		if p.in.Policy.ManageIGMPProxy == ProxyNever {
			do = "List the networks from which your provider sends as altnet in /etc/config/igmpproxy, or 0.0.0.0/0."
		}
		p.find(KindProxySenders, "", "The IGMP proxy takes streams from "+only+", which is not where the provider sends, so IPTV has no picture.", do)
		return
	}
	p.line("", WhatMulticast, "senders in "+joinPrefixes(want), "the IGMP proxy that is set up takes streams from "+only)
	p.out.Gateway.Multicast = &model.MulticastPath{Upstream: f.Upstream, Downstream: n.LAN.Network, AltNets: want, Reason: need}
}

// senders are the networks from which streams are to be taken and are not, and
// those among the listed ones that igmpproxy mistakes the LAN for: as specific as
// the LAN's own. What the owner of the proxy has listed counts as right, but for
// these and the package's example, unless option altnet knows better.
func (p *planner) senders() (want, lan []netip.Prefix) {
	var right []netip.Prefix
	for _, n := range p.in.Network.Multicast.AltNets {
		l := p.in.Network.LAN.Prefix
		mistaken := l.IsValid() && n.Bits() >= l.Bits() && n.Overlaps(l)
		if mistaken {
			lan = append(lan, n)
		} else if n != stockSenders {
			right = append(right, n)
		}
	}
	if want = p.in.Policy.AltNets; len(want) > 0 {
		if slices.ContainsFunc(want, func(n netip.Prefix) bool { return !covered(n, right) }) {
			return slices.Clone(want), lan
		}
		return nil, lan
	}
	if len(right) == 0 && len(p.in.Network.Multicast.AltNets) > 0 {
		want = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	return want, lan
}

func covered(n netip.Prefix, by []netip.Prefix) bool {
	return slices.ContainsFunc(by, func(b netip.Prefix) bool { return b.Bits() <= n.Bits() && b.Contains(n.Addr()) })
}

func joinPrefixes(list []netip.Prefix) string {
	s := make([]string, len(list))
	for i, n := range list {
		s[i] = n.String()
	}
	return strings.Join(s, ", ")
}
