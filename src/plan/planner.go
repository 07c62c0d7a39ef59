package plan

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"homeconf/src/model"
)

// device is one device of ours on its way through the plan.
type device struct {
	rec     *model.Record
	profile model.Profile
	why     string      // why this profile
	macs    []model.MAC // by which DHCP knows it; none: it can't be reserved for

	address    netip.Addr
	addressWhy string
	fixed      bool             // the address is reserved, by us or by hand
	byHand     *model.HostEntry // somebody's reservation for it, with a fit address
	lost       string           // why it can't keep the address it had
	fresh      bool             // newly given: to be probed
	name       string           // of its reservation
}

// planner holds one plan in the making.
type planner struct {
	in      Input
	catalog catalog
	records []*model.Record // valid ones, by id
	devices []*device       // ours, by id
	owner   map[model.MAC]model.DeviceID
	hosts   []*model.HostEntry // all reservations, in an order of their own
	space   space
	claims  map[netip.Addr][]claim
	given   map[netip.Addr]model.DeviceID
	kept    map[netip.Addr]model.DeviceID // what devices have had and may keep
	out     Plan
	known   map[string]bool // ids of findings
}

func newPlanner(in Input) *planner {
	p := &planner{
		in: in, catalog: newCatalog(in.Profiles), known: map[string]bool{},
		owner: map[model.MAC]model.DeviceID{}, claims: map[netip.Addr][]claim{}, given: map[netip.Addr]model.DeviceID{},
		kept: map[netip.Addr]model.DeviceID{},
		out: Plan{
			Settings: map[model.DeviceID]model.Settings{}, Addresses: map[model.DeviceID]netip.Addr{},
			Profiles: map[model.DeviceID]string{},
		},
	}
	p.sortRecords()
	p.findOwners()
	for _, r := range p.records {
		id := p.catalog.identify(r)
		p.out.Profiles[r.ID] = id.Profile.Name
		if r.Ours() {
			d := &device{rec: r, profile: id.Profile, why: id.Why}
			p.findMACs(d)
			p.devices = append(p.devices, d)
		} else {
			p.suggest(r, id)
		}
	}
	for i := range in.Network.Reservations {
		p.hosts = append(p.hosts, &in.Network.Reservations[i])
	}
	sort.Slice(p.hosts, func(i, j int) bool {
		a, b := p.hosts[i], p.hosts[j]
		return cmp.Or(strings.Compare(a.Section, b.Section), a.Address.Compare(b.Address), slices.CompareFunc(a.MACs, b.MACs, compareMACs)) < 0
	})
	p.space = newSpace(in.Network.LAN.Prefix, in.Network.Pool, in.Policy.Exclude)
	p.collectClaims()
	return p
}

// sortRecords puts the valid records in order of their ids. An id names UCI
// sections and files, so a record with a strange one gets nothing.
func (p *planner) sortRecords() {
	strange := 0
	for _, r := range p.in.Records {
		switch {
		case r == nil:
		case !r.ID.Valid():
			strange++
		default:
			p.records = append(p.records, r)
		}
	}
	if strange > 0 {
		p.find(KindRecord, "", "the database holds "+count(strange, "record")+" without a proper device id, which is left alone.",
			"see `homeconf device list`, and delete what should not be there")
	}
	sort.Slice(p.records, func(i, j int) bool {
		a, b := p.records[i], p.records[j]
		if a.ID != b.ID {
			return a.ID < b.ID
		}
		// Two records of one device can only come from a mistake of the
		// caller; which of them counts must not hang on the order.
		aj, _ := json.Marshal(a)
		bj, _ := json.Marshal(b)
		return string(aj) < string(bj)
	})
	p.records = slices.CompactFunc(p.records, func(a, b *model.Record) bool { return a.ID == b.ID })
}

// station says whether a device can be known by a MAC address.
func (p *planner) station(m model.MAC) bool {
	return !m.IsZero() && !m.IsGroup() && m != p.in.Network.LAN.MAC
}

// findOwners says whose each MAC address is. Devices of ours come before
// strangers and older ones before newer ones: what a proven device has does not
// move to another because that shows the same MAC. What an agent only reports
// comes last, so that no agent can claim another device's address.
func (p *planner) findOwners() {
	rank := func(r *model.Record) int {
		switch r.State {
		case model.DeviceAdopted:
			return 0
		case model.DeviceManaged:
			return 1
		}
		return 2
	}
	byClaim := slices.Clone(p.records)
	sort.SliceStable(byClaim, func(i, j int) bool {
		a, b := byClaim[i], byClaim[j]
		if c := rank(a) - rank(b); c != 0 {
			return c < 0
		}
		return a.FirstSeen.Before(b.FirstSeen)
	})
	claim := func(m model.MAC, id model.DeviceID) {
		if _, taken := p.owner[m]; !taken && p.station(m) {
			p.owner[m] = id
		}
	}
	for _, r := range byClaim {
		for _, m := range r.MACs {
			claim(m, r.ID)
		}
	}
	for _, r := range byClaim {
		if r.Report != nil && r.State == model.DeviceAdopted {
			for _, i := range r.Report.Interfaces {
				claim(i.MAC, r.ID)
			}
		}
	}
}

// macsInReservation bounds the addresses of one reservation: a device has a
// wired and a wireless one, seldom more.
const macsInReservation = 8

// findMACs says by which MAC addresses DHCP knows a device: for an agent the
// one of the interface it configures. dnsmasq takes several for one device only
// if no two are in use at a time, which an agent's report would not promise.
func (p *planner) findMACs(d *device) {
	wanted := d.rec.MACs
	if d.rec.Report != nil {
		if i, ok := d.rec.Report.Interface(); ok && p.station(i.MAC) {
			wanted = []model.MAC{i.MAC}
		}
	}
	for _, m := range wanted {
		if p.owner[m] == d.rec.ID && !slices.Contains(d.macs, m) && len(d.macs) < macsInReservation {
			d.macs = append(d.macs, m)
		}
	}
	sort.Slice(d.macs, func(i, j int) bool { return compareMACs(d.macs[i], d.macs[j]) < 0 })
}

func compareMACs(a, b model.MAC) int { return slices.Compare(a[:], b[:]) }

// line adds a line about a device, or with none about the home.
func (p *planner) line(id model.DeviceID, what, value, reason string) {
	p.out.Lines = append(p.out.Lines, Line{Device: id, What: what, Value: value, Reason: reason})
}

// find adds a finding, once.
func (p *planner) find(kind string, id model.DeviceID, text, step string) {
	fid := model.FindingID(kind, id)
	if p.known[fid] {
		return
	}
	p.known[fid] = true
	p.out.Findings = append(p.out.Findings, model.Finding{ID: fid, Kind: kind, Device: id, Text: text, Step: step})
}

// finish puts findings in order: the home's first, then by device.
func (p *planner) finish() Plan {
	sort.SliceStable(p.out.Findings, func(i, j int) bool {
		a, b := &p.out.Findings[i], &p.out.Findings[j]
		return a.Device < b.Device || a.Device == b.Device && a.ID < b.ID
	})
	return p.out
}
