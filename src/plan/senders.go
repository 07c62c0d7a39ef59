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
	want := p.senders()
	if len(want) == 0 || f.Upstream == "" {
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
	p.line("", WhatMulticast, "senders in "+joinPrefixes(want)+" as well", "the IGMP proxy that is set up takes streams from "+only)
	p.out.Gateway.Multicast = &model.MulticastPath{Upstream: f.Upstream, Downstream: n.LAN.Network, AltNets: want, Reason: need}
}

// senders are the networks from which streams are to be taken and are not. What
// the owner of the proxy has listed counts as right, but for the example of the
// package and the LAN itself, unless option altnet knows better.
func (p *planner) senders() []netip.Prefix {
	have, lan := p.in.Network.Multicast.AltNets, p.in.Network.LAN.Prefix
	if want := p.in.Policy.AltNets; len(want) > 0 {
		if !slices.ContainsFunc(want, func(n netip.Prefix) bool { return !covered(n, have) }) {
			return nil
		}
		return slices.Clone(want)
	}
	if len(have) == 0 || slices.ContainsFunc(have, func(n netip.Prefix) bool {
		return n != stockSenders && !(lan.IsValid() && covered(n, []netip.Prefix{lan.Masked()}))
	}) {
		return nil
	}
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
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
