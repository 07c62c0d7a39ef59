package gateway

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
)

// proxy is the IGMP proxy that this gateway has: one of two programs. The
// package has the program's name.
type proxy struct {
	program      string // of those installed; empty: none is
	ours, others gwuci.Proxy
}

// proxyPrograms in the order in which they are taken where both are installed
// and neither is configured by somebody else.
var proxyPrograms = []string{gwuci.IGMPProxy, gwuci.OMCProxy}

// proxy finds the program, and what it is configured for. One that somebody has
// configured comes first.
func (r *Router) proxy() proxy {
	var first proxy
	for _, program := range proxyPrograms {
		if !r.installed(program) {
			continue
		}
		p := r.configured(program)
		if p.others.Upstream != "" || len(p.others.Downstream) > 0 {
			return p
		}
		if first.program == "" || !first.ours.Complete() && p.ours.Complete() {
			first = p
		}
	}
	if first.program == "" {
		// What is configured for a program that is gone is still the owner's word.
		p := r.configured(gwuci.IGMPProxy)
		first.ours, first.others = p.ours, p.others
	}
	return first
}

func (r *Router) configured(program string) proxy {
	p := proxy{program: program}
	if program == gwuci.OMCProxy {
		p.ours, p.others = gwuci.OMCProxies(r.lenient(program))
	} else {
		p.ours, p.others = gwuci.Proxies(r.lenient(program))
	}
	return p
}

// installed looks where packages put programs.
func (r *Router) installed(program string) bool {
	if program == gwuci.IGMPProxy && r.cfg.IGMPProxy != "" {
		_, err := exec.LookPath(r.cfg.IGMPProxy)
		return err == nil
	}
	for _, p := range []string{program, "/usr/sbin/" + program} {
		if _, err := exec.LookPath(p); err == nil {
			return true
		}
	}
	return false
}

func (r *Router) multicastFact() (model.MulticastFact, error) {
	p := r.proxy()
	f := model.MulticastFact{Installed: p.program != "", Program: p.program}
	f.Configured = p.others.Complete() || p.ours.Complete()
	f.Ours = !p.others.Complete() && p.ours.Complete()
	in := p.others
	if f.Ours {
		in = p.ours
	}
	f.Upstream, f.Downstream, f.AltNets = in.Upstream, in.Downstream, in.AltNets
	if !f.Configured {
		f.Upstream = r.cfg.IPTVNetwork // where it should come from
	}
	vifs, err := r.kernel.VIFs()
	if err != nil {
		return f, fmt.Errorf("look at multicast routing: %w", err)
	}
	for _, v := range vifs {
		f.Interfaces = append(f.Interfaces, v.Device)
	}
	if f.Installed {
		if f.Running, err = r.kernel.Running(p.program); err != nil {
			return f, fmt.Errorf("look for %s: %w", p.program, err)
		}
	}
	return f, nil
}

// admitProxy leaves the proxy out where it isn't there, or is somebody else's.
func (r *Router) admitProxy(path *model.MulticastPath, change *Change) *model.MulticastPath {
	if path == nil {
		return nil
	}
	p := r.proxy()
	switch {
	case p.others.Covers(*path):
		return nil
	case p.program == gwuci.IGMPProxy && p.others.Leads(*path): // senders are added
	case p.others.Upstream != "" || len(p.others.Downstream) > 0:
		program := p.program
		if program == "" {
			program = gwuci.IGMPProxy
		}
		change.Findings = append(change.Findings, finding(FindingProxyForeign, "",
			fmt.Sprintf("%s is configured already, from %s to %s for senders in %s, and not by homeconf; IPTV would need it from %s to %s", program,
				orNothing(p.others.Upstream), orNothing(strings.Join(p.others.Downstream, ", ")), orNothing(join(p.others.AltNets)), path.Upstream, path.Downstream),
			fmt.Sprintf("change /etc/config/%s, or remove its own sections so that homeconf writes its own", program)))
		return nil
	case p.program == "":
		change.Findings = append(change.Findings, proxyMissing())
		return nil
	}
	change.Findings = append(change.Findings, r.findHidden(p.program)...)
	return path
}

// proxyWriter writes the package of one of the two programs. That of the other
// one, and of one that is gone, keeps nothing of ours.
func (r *Router) proxyWriter(allowed model.GatewayState, program string) writer {
	var saved gwuci.Saved
	return writer{
		name: WhatProxy,
		write: func(ctx context.Context) ([]Step, error) {
			want := allowed.Multicast
			if r.proxy().program != program {
				want = nil
			}
			known := false
			before := func() error { known = r.seen(program); return r.pending.begin(program) }
			var done []gwuci.Done
			var err error
			if program == gwuci.OMCProxy {
				done, saved, err = gwuci.SetOMCProxy(ctx, r.dir, before, want)
			} else {
				firewall := r.lenient("firewall")
				done, saved, err = gwuci.SetProxy(ctx, r.dir, before, want, func(network string) string { return gwuci.Zone(firewall, network) })
			}
			if err != nil {
				return nil, fmt.Errorf("write the configuration of %s: %w", program, err)
			}
			if len(done) == 0 {
				return nil, nil
			}
			if known {
				r.wrote(program)
			}
			s := Step{Action: Changed, What: WhatProxy, Text: "no path of ours"}
			switch {
			case want == nil:
				s.Action = Removed
			default:
				s.Text = proxyText(*want)
				if !slices.ContainsFunc(done, func(d gwuci.Done) bool { return d.Op != gwuci.Added }) {
					s.Action = Added
				}
			}
			return []Step{s}, nil
		},
		undo: func(ctx context.Context) error { return saved.Restore(ctx, r.dir) },
	}
}
