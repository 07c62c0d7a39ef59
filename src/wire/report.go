package wire

import (
	"crypto/sha256"
	"net/netip"

	"homeconf/src/model"
)

// Report is what an agent says of itself. Full is true; a report that is not
// would be a difference against the one with the digest Base.
//
//	{1: seq u64, 2: full bool, ? 3: base bytes 32, ? 4: digest bytes 32, 5: report}
type Report struct {
	Seq          uint64
	Full         bool
	Base, Digest [32]byte // zero: not said
	Report       model.Report
}

type reportMessage struct {
	Seq    uint64 `cbor:"1,keyasint"`
	Full   bool   `cbor:"2,keyasint"`
	Base   octets `cbor:"3,keyasint,omitempty"`
	Digest octets `cbor:"4,keyasint,omitempty"`
	Report report `cbor:"5,keyasint"`
}

type report struct {
	Info         deviceInfo  `cbor:"1,keyasint"`
	HostName     string      `cbor:"2,keyasint,omitempty"`
	Interfaces   []iface     `cbor:"3,keyasint,omitempty"`
	Managed      string      `cbor:"4,keyasint,omitempty"`
	Gateway      octets      `cbor:"5,keyasint,omitempty"`
	DNS          []octets    `cbor:"6,keyasint,omitempty"`
	Services     []serviceIn `cbor:"7,keyasint,omitempty"`
	Capabilities []string    `cbor:"8,keyasint,omitempty"`
	Groups       []octets    `cbor:"9,keyasint,omitempty"`
	Backend      string      `cbor:"10,keyasint,omitempty"`
	Generation   uint64      `cbor:"11,keyasint,omitempty"`
	State        string      `cbor:"12,keyasint,omitempty"`
}

type deviceInfo struct {
	DeviceCategory  string `cbor:"1,keyasint,omitempty"`
	Manufacturer    string `cbor:"2,keyasint,omitempty"`
	ManufacturerOUI string `cbor:"3,keyasint,omitempty"`
	ModelName       string `cbor:"4,keyasint,omitempty"`
	ModelNumber     string `cbor:"5,keyasint,omitempty"`
	SerialNumber    string `cbor:"6,keyasint,omitempty"`
	SoftwareVersion string `cbor:"7,keyasint,omitempty"`
	FriendlyName    string `cbor:"8,keyasint,omitempty"`
}

type iface struct {
	Name      string      `cbor:"1,keyasint"`
	MAC       octets      `cbor:"2,keyasint,omitempty"`
	Medium    string      `cbor:"3,keyasint,omitempty"`
	Up        bool        `cbor:"4,keyasint"`
	SpeedMbps uint32      `cbor:"5,keyasint,omitempty"`
	Addresses []addressIn `cbor:"6,keyasint,omitempty"`
}

type addressIn struct {
	Prefix octets `cbor:"1,keyasint"`
	Type   string `cbor:"2,keyasint,omitempty"`
}

type serviceIn struct {
	Name  string `cbor:"1,keyasint"`
	Kind  string `cbor:"2,keyasint,omitempty"`
	State string `cbor:"3,keyasint"`
	// Expose has ports that the outside should reach, each as its protocol's
	// number (6 TCP, 17 UDP) times 65,536 plus the port's.
	Expose []uint32 `cbor:"4,keyasint,omitempty"`
}

// Type is TypeReport.
func (Report) Type() MessageType { return TypeReport }

func (r Report) encode() ([]byte, error) {
	w := reportMessage{Seq: r.Seq, Full: r.Full}
	if r.Base != [32]byte{} {
		w.Base = octets(r.Base[:])
	}
	if r.Digest != [32]byte{} {
		w.Digest = octets(r.Digest[:])
	}
	var err error
	if w.Report, err = fromReport(r.Report); err != nil {
		return nil, err
	}
	return marshal(w), nil
}

func decodeReport(b []byte) (r Report, err error) {
	var w reportMessage
	if err := unmarshal("Report", b, &w); err != nil {
		return r, err
	}
	r.Seq, r.Full = w.Seq, w.Full
	if w.Base != "" {
		if err := fixed("Report: base", r.Base[:], w.Base); err != nil {
			return r, err
		}
	}
	if w.Digest != "" {
		if err := fixed("Report: digest", r.Digest[:], w.Digest); err != nil {
			return r, err
		}
	}
	r.Report, err = w.Report.model()
	return r, err
}

// ReportDigest is the SHA-256 of the report's deterministic CBOR, by which the
// two sides find out whether they have the same one.
func ReportDigest(r model.Report) ([32]byte, error) {
	w, err := fromReport(r)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(marshal(w)), nil
}

// check holds all that is text or a list to its limits, for both directions.
func (w *report) check() error {
	for _, l := range []struct {
		what     string
		n, limit int
	}{
		{"Report: interfaces", len(w.Interfaces), MaxInterfaces},
		{"Report: DNS", len(w.DNS), MaxDNS},
		{"Report: services", len(w.Services), MaxServices},
		{"Report: capabilities", len(w.Capabilities), MaxCapabilities},
		{"Report: groups", len(w.Groups), MaxGroups},
	} {
		if err := checkList(l.what, l.n, l.limit); err != nil {
			return err
		}
	}
	for _, t := range []struct{ what, s string }{
		{"Report: manufacturer", w.Info.Manufacturer},
		{"Report: manufacturer OUI", w.Info.ManufacturerOUI},
		{"Report: model name", w.Info.ModelName},
		{"Report: model number", w.Info.ModelNumber},
		{"Report: serial number", w.Info.SerialNumber},
		{"Report: software version", w.Info.SoftwareVersion},
		{"Report: friendly name", w.Info.FriendlyName},
		{"Report: host name", w.HostName},
		{"Report: managed interface", w.Managed},
		{"Report: backend", w.Backend},
	} {
		if err := checkText(t.what, t.s); err != nil {
			return err
		}
	}
	if _, err := model.ParseCategory(w.Info.DeviceCategory); err != nil {
		return malformed("Report", "%v", err)
	}
	for _, c := range w.Capabilities {
		if err := checkText("Report: capability", c); err != nil {
			return err
		}
	}
	for i := range w.Services {
		if err := w.Services[i].check(); err != nil {
			return err
		}
	}
	for i := range w.Interfaces {
		if err := w.Interfaces[i].check(); err != nil {
			return err
		}
	}
	switch model.CommitState(w.State) {
	case "", model.CommitNone, model.CommitPending, model.CommitConfirmed, model.CommitReverted:
		return nil
	}
	return malformed("Report: state", "%.40q", w.State)
}

// numbers are the protocols' own (IANA, Protocol Numbers).
var numbers = map[model.Protocol]uint32{model.TCP: 6, model.UDP: 17}

// portOf is not valid for a protocol that has no name here.
func portOf(v uint32) model.Port {
	p := model.Port{Number: uint16(v)}
	switch v >> 16 {
	case 6:
		p.Protocol = model.TCP
	case 17:
		p.Protocol = model.UDP
	}
	return p
}

func (w *serviceIn) check() error {
	if err := checkText("Report: service name", w.Name); err != nil {
		return err
	}
	if err := checkText("Report: service kind", w.Kind); err != nil {
		return err
	}
	if err := checkList("Report: ports of a service", len(w.Expose), MaxExposed); err != nil {
		return err
	}
	for _, p := range w.Expose {
		if !portOf(p).Valid() {
			return malformed("Report: port of a service", "%#x", p)
		}
	}
	switch model.ServiceState(w.State) {
	case model.ServiceUnknown, model.ServiceRunning, model.ServiceStopped:
		return nil
	}
	return malformed("Report: service state", "%.40q", w.State)
}

func (w *iface) check() error {
	if w.Name == "" {
		return malformed("Report: interface name", "empty")
	}
	if err := checkText("Report: interface name", w.Name); err != nil {
		return err
	}
	switch model.Medium(w.Medium) {
	case model.MediumUnknown, model.MediumEthernet, model.MediumWiFi:
	default:
		return malformed("Report: medium", "%.40q", w.Medium)
	}
	for _, a := range w.Addresses {
		switch model.AddressingType(a.Type) {
		case model.AddressingUnknown, model.AddressingDHCP, model.AddressingStatic, model.AddressingAutoIP:
		default:
			return malformed("Report: addressing type", "%.40q", a.Type)
		}
	}
	return checkList("Report: addresses", len(w.Addresses), MaxAddresses)
}

func fromReport(r model.Report) (w report, err error) {
	w = report{
		Info: deviceInfo{string(r.Info.DeviceCategory), r.Info.Manufacturer, r.Info.ManufacturerOUI, r.Info.ModelName,
			r.Info.ModelNumber, r.Info.SerialNumber, r.Info.SoftwareVersion, r.Info.FriendlyName},
		HostName: r.HostName, Managed: r.Managed, Backend: r.Backend, Generation: r.Generation, State: string(r.State),
	}
	for _, i := range r.Interfaces {
		v, err := fromInterface(i)
		if err != nil {
			return w, err
		}
		w.Interfaces = append(w.Interfaces, v)
	}
	if w.Gateway, err = addr4("Report: gateway", r.Gateway); err != nil {
		return w, err
	}
	for _, a := range r.DNS {
		// What a device has may be IPv6, though what it is asked for is not.
		w.DNS = append(w.DNS, octets(a.Unmap().AsSlice()))
	}
	for _, s := range r.Services {
		in := serviceIn{Name: s.Name, Kind: s.Kind, State: string(s.State)}
		for _, p := range s.Expose {
			in.Expose = append(in.Expose, numbers[p.Protocol]<<16|uint32(p.Number))
		}
		w.Services = append(w.Services, in)
	}
	for _, c := range r.Capabilities {
		w.Capabilities = append(w.Capabilities, string(c))
	}
	for _, a := range r.Groups {
		b, err := addr4("Report: group", a)
		if err != nil {
			return w, err
		}
		w.Groups = append(w.Groups, b)
	}
	// The lists of addresses are looked at as they would be on arrival.
	if _, err := w.addresses(); err != nil {
		return w, err
	}
	return w, w.check()
}

func fromInterface(i model.Interface) (iface, error) {
	w := iface{Name: i.Name, Medium: string(i.Medium), Up: i.Up, SpeedMbps: i.SpeedMbps}
	if !i.MAC.IsZero() {
		w.MAC = octets(i.MAC[:])
	}
	for _, a := range i.Addresses {
		p, err := prefix4("Report: address of "+i.Name, a.Prefix)
		if err != nil {
			return w, err
		}
		w.Addresses = append(w.Addresses, addressIn{p, string(a.Type)})
	}
	_, err := w.model()
	return w, err
}

// addresses has the report's addresses that stand outside its interfaces.
func (w *report) addresses() (r model.Report, err error) {
	if r.Gateway, err = parseAddr4("Report: gateway", w.Gateway); err != nil {
		return r, err
	}
	for _, b := range w.DNS {
		a, ok := netip.AddrFromSlice([]byte(b))
		if !ok || a.Is4In6() {
			return r, malformed("Report: DNS", "%d bytes, want an IPv4 or IPv6 address", len(b))
		}
		r.DNS = append(r.DNS, a)
	}
	for _, b := range w.Groups {
		a, err := parseAddr4("Report: group", b)
		if err != nil {
			return r, err
		}
		if !a.IsMulticast() {
			return r, malformed("Report: group", "%v is no multicast address", a)
		}
		r.Groups = append(r.Groups, a)
	}
	return r, nil
}

func (w *report) model() (model.Report, error) {
	if err := w.check(); err != nil {
		return model.Report{}, err
	}
	r, err := w.addresses()
	if err != nil {
		return r, err
	}
	r.Info = model.DeviceInfo{DeviceCategory: model.Category(w.Info.DeviceCategory), Manufacturer: w.Info.Manufacturer,
		ManufacturerOUI: w.Info.ManufacturerOUI, ModelName: w.Info.ModelName, ModelNumber: w.Info.ModelNumber,
		SerialNumber: w.Info.SerialNumber, SoftwareVersion: w.Info.SoftwareVersion, FriendlyName: w.Info.FriendlyName}
	r.HostName, r.Managed, r.Backend, r.Generation, r.State = w.HostName, w.Managed, w.Backend, w.Generation, model.CommitState(w.State)
	for i := range w.Interfaces {
		v, err := w.Interfaces[i].model()
		if err != nil {
			return r, err
		}
		r.Interfaces = append(r.Interfaces, v)
	}
	for _, s := range w.Services {
		out := model.Service{Name: s.Name, Kind: s.Kind, State: model.ServiceState(s.State)}
		for _, p := range s.Expose {
			out.Expose = append(out.Expose, portOf(p))
		}
		r.Services = append(r.Services, out)
	}
	for _, c := range w.Capabilities {
		r.Capabilities = append(r.Capabilities, model.Capability(c))
	}
	return r, nil
}

func (w *iface) model() (model.Interface, error) {
	i := model.Interface{Name: w.Name, Medium: model.Medium(w.Medium), Up: w.Up, SpeedMbps: w.SpeedMbps}
	if w.MAC != "" {
		if err := fixed("Report: MAC address", i.MAC[:], w.MAC); err != nil {
			return i, err
		}
		if i.MAC.IsGroup() {
			return i, malformed("Report: MAC address", "%v is a group's", i.MAC)
		}
	}
	for _, a := range w.Addresses {
		p, err := parsePrefix4("Report: address", a.Prefix)
		if err != nil {
			return i, err
		}
		if !p.IsValid() {
			return i, malformed("Report: address", "empty")
		}
		i.Addresses = append(i.Addresses, model.Address{Prefix: p, Type: model.AddressingType(a.Type)})
	}
	return i, nil
}
