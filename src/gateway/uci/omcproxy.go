package uci

import (
	"context"
	"net/netip"
	"strings"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// The two IGMP proxies: their programs' names, which are their packages', too.
// omcproxy is in the base feed of every release of OpenWrt, and speaks IGMPv3
// and MLDv2.
const (
	IGMPProxy = "igmpproxy"
	OMCProxy  = "omcproxy"
)

// sectionOMC is our section of omcproxy. It belongs to no single device.
const sectionOMC = "hc_omcproxy"

// OMCProxies reads an omcproxy file: what is ours in it, and what is not. Such a
// proxy takes streams from every sender.
func OMCProxies(f *file.File) (ours, others Proxy) {
	if f == nil {
		return
	}
	for _, s := range f.Sections("proxy") {
		p := &others
		if ourProxy(s) {
			p = &ours
		}
		uplink, _ := s.Get("uplink")
		var down []string
		for _, v := range s.List("downlink") {
			down = append(down, strings.Fields(v)...)
		}
		if uplink == "" || len(down) == 0 || p.Complete() {
			continue // of several the first whole one
		}
		*p = Proxy{Upstream: uplink, Downstream: down, AltNets: []netip.Prefix{anywhere}}
	}
	return ours, others
}

// SetOMCProxy makes our section of omcproxy the wanted one; nil removes it.
func SetOMCProxy(ctx context.Context, dir file.Dir, before func() error, want *model.MulticastPath) ([]Done, Saved, error) {
	return setSections(ctx, dir, OMCProxy, before, func(f *file.File) ([]section, error) {
		if _, others := OMCProxies(f); want == nil || others.Complete() {
			return nil, nil
		}
		return []section{{"proxy", sectionOMC, []file.Option{{Name: "scope", Values: []string{"global"}},
			{Name: "uplink", Values: []string{want.Upstream}}, {Name: "downlink", Values: []string{want.Downstream}, IsList: true}}}}, nil
	})
}
