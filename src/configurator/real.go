package configurator

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"homeconf/src/gateway"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/options"
	"homeconf/src/plan"
	"homeconf/src/sighting"
	"homeconf/src/wire"
)

// receiveBuffer is what the LAN's socket may hold. The kernel's default has
// room for some 90 full frames, less than a home that comes up at once sends.
const receiveBuffer = 1 << 20

// fillIn puts the real thing where the configuration has none.
func (c *Configurator) fillIn() error {
	o := c.opts.Configurator
	if c.cfg.Link == nil {
		k := link.Keeper{Interface: c.iface, Log: c.log, Options: link.Options{
			EtherType: wire.EtherType, Groups: []link.MAC{link.MAC(wire.Group)}, ReceiveBuffer: receiveBuffer}}
		c.cfg.Link = func(ctx context.Context, use func(context.Context, link.Port) error) error {
			k.Use = use
			return link.Keep(ctx, k)
		}
	}
	if c.cfg.Prober == nil {
		c.cfg.Prober = lanProber(c.iface)
	}
	if c.cfg.Gateway == nil {
		gw, err := gateway.New(gateway.Config{ConfigDir: c.cfg.ConfigDir, StateDir: c.cfg.StateDir, RunDir: c.cfg.RunDir,
			LANDevice: c.iface, LANNetwork: o.LANNetwork, WANNetwork: o.WANNetwork, IPTVNetwork: o.IPTVNetwork,
			Reloader: c.reloader(), System: c.busSystem(), Log: c.log})
		if err != nil {
			return fmt.Errorf("opening the gateway: %w", err)
		}
		c.cfg.Gateway = gw
	}
	if c.cfg.Sightings == nil {
		s := sighting.Config{Device: c.iface, Bus: c.bus, LeaseFile: leaseFile(c.cfg.ConfigDir), Log: c.log}
		c.cfg.Sightings = func(ctx context.Context, tell func([]sighting.Evidence)) error { return sighting.Watch(ctx, s, tell) }
	}
	return nil
}

// lanProber speaks ARP on the named interface.
type lanProber string

func (p lanProber) Probe(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]model.MAC, error) {
	found, err := link.Probe(ctx, string(p), addrs)
	out := make(map[netip.Addr]model.MAC, len(found))
	for a, m := range found {
		out[a] = model.MAC(m)
	}
	return out, err
}

func (p lanProber) Resolve(ctx context.Context, addr netip.Addr) (model.MAC, error) {
	m, err := link.Resolve(ctx, string(p), netip.Addr{}, addr)
	return model.MAC(m), err
}

func (p lanProber) Watch(ctx context.Context, heard func(netip.Addr, model.MAC)) error {
	return link.WatchConflicts(ctx, string(p), func(a netip.Addr, m link.MAC) { heard(a, model.MAC(m)) })
}

// withRates puts the owner's word on what the line carries above what the
// gateway's own configuration says.
func (c *Configurator) withRates(n model.Network) model.Network {
	if o := c.opts.Configurator; o.DownMbps > 0 || o.UpMbps > 0 {
		n.Rates.DownMbps, n.Rates.UpMbps, n.Rates.Source = o.DownMbps, o.UpMbps, "homeconf"
	}
	return n
}

func leaseFile(configDir string) string {
	return gateway.LeaseFile(filepath.Clean(configDir))
}

// policy is what the owner's options say to the plan.
func (c *Configurator) policy() plan.Policy {
	o := c.opts.Configurator
	return plan.Policy{ManageIGMPProxy: plan.ManageProxy(o.ManageIGMPProxy), IGMPAllowed: c.home.allowed["igmpproxy"], IGMPRefused: c.home.allowed[refusedProxy],
		Agentless: plan.Agentless(o.Agentless), AltNets: o.AltNets, Former: c.lan.Before, Refused: c.refusedNow(time.Now())}
}

// ways is what is offered to strangers.
func (c *Configurator) ways() []wire.Way {
	l := []wire.Way{c.members.offered()}
	if l[0] != wire.WayCode && c.members.codesWait() > 0 {
		l = append(l, wire.WayCode)
	}
	return l
}

// profilesOf lays the owner's profiles over the built-in ones.
func profilesOf(o *options.Options) map[string]model.Profile {
	all := plan.BuiltinProfiles()
	out := map[string]model.Profile{}
	for _, own := range o.Profiles {
		p, known := all[own.Name]
		if !known {
			p = all[plan.ProfileUnknown]
			p.Name, p.Categories = own.Name, nil
		}
		if len(own.Categories) > 0 {
			p.Categories = own.Categories
		}
		take(&p.Address, own.Address)
		take(&p.Class, own.Class)
		take(&p.Ports, own.Ports)
		take(&p.Multicast, own.Multicast)
		take(&p.DownMbps, own.DownMbps)
		take(&p.UpMbps, own.UpMbps)
		out[p.Name] = p
	}
	return out
}

func take[T any](field *T, own *T) {
	if own != nil {
		*field = *own
	}
}
