package gateway

import (
	"errors"
	"fmt"

	"homeconf/src/model"
)

// check refuses a wish that can't be carried out on any gateway: a programming
// error of the caller's, not a fact of the home.
func check(want model.GatewayState) error {
	var errs []error
	for _, r := range want.Reservations {
		switch {
		case !r.Device.Valid():
			errs = append(errs, fmt.Errorf("reservation of %s: device id %.40q is malformed", r.Address, r.Device))
		case !r.Address.Is4() || r.Address.IsUnspecified() || r.Address.IsMulticast():
			errs = append(errs, fmt.Errorf("reservation of %s: %s is no IPv4 host address", r.Device, r.Address))
		case len(r.MACs) == 0:
			errs = append(errs, fmt.Errorf("reservation of %s for %s: no MAC address", r.Address, r.Device))
		case r.Name != "" && !hostLabel(r.Name):
			errs = append(errs, fmt.Errorf("reservation of %s for %s: %.70q is no DNS label", r.Address, r.Device, r.Name))
		}
		for _, m := range r.MACs {
			if m.IsZero() || m.IsGroup() {
				errs = append(errs, fmt.Errorf("reservation of %s for %s: %s is no station's MAC address", r.Address, r.Device, m))
			}
		}
	}
	for _, m := range want.Marks {
		if !m.Device.Valid() {
			errs = append(errs, fmt.Errorf("mark for %s: device id %.40q is malformed", m.Address, m.Device))
		}
		if !m.Address.Is4() || m.Address.IsUnspecified() || m.Address.IsMulticast() {
			errs = append(errs, fmt.Errorf("mark of %s: %s is no IPv4 host address", m.Device, m.Address))
		}
		for _, g := range m.Groups {
			if !g.Is4() || !g.IsMulticast() {
				errs = append(errs, fmt.Errorf("mark of %s: %s is no IPv4 multicast group", m.Device, g))
			}
		}
		if _, err := model.ParseTrafficClass(string(m.Class)); err != nil {
			errs = append(errs, fmt.Errorf("mark of %s: %w", m.Device, err))
		}
	}
	if p := want.Multicast; p != nil {
		if !networkName(p.Upstream) || !networkName(p.Downstream) || p.Upstream == p.Downstream {
			errs = append(errs, fmt.Errorf("multicast path from %.40q to %.40q: want the names of two UCI networks", p.Upstream, p.Downstream))
		}
		for _, n := range p.AltNets {
			if !n.IsValid() || !n.Addr().Is4() {
				errs = append(errs, fmt.Errorf("multicast path: %s is no IPv4 network", n))
			}
		}
	}
	return errors.Join(errs...)
}

// hostLabel says whether s is a label of a host name (RFC 1123, 2.1).
func hostLabel(s string) bool {
	if len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// networkName says whether s is a name that UCI gives to a network.
func networkName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
