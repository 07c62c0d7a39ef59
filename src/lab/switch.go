package lab

import (
	"fmt"
	"sync"
)

// Switch is a bridge that joins hosts and does nothing else. Any goroutine may
// use it.
type Switch struct {
	lab   *Lab
	host  *Host
	mu    sync.Mutex
	hosts map[[6]byte]*Host
}

// Switch makes a switch without hosts.
func (l *Lab) Switch(name string) (*Switch, error) {
	h, err := l.Host(name)
	if err == nil {
		err = h.Bridge("br0", "02:00:00:00:ff:01")
	}
	if err != nil {
		return nil, fmt.Errorf("make switch: %w", err)
	}
	return &Switch{lab: l, host: h, hosts: map[[6]byte]*Host{}}, nil
}

// Join makes a host whose eth0 has the MAC address and is up and joined to the
// switch; the same one when it was made before.
func (s *Switch) Join(mac [6]byte) (*Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hosts[mac]; h != nil {
		return h, nil
	}
	h, err := s.lab.Host(fmt.Sprintf("h%x", mac))
	if err != nil {
		return nil, fmt.Errorf("join switch: %w", err)
	}
	port := fmt.Sprintf("p%x", mac)
	err = s.lab.Connect(h, "eth0", s.host, port)
	if err == nil {
		err = h.IP("link", "set", "eth0", "address", fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]), "up")
	}
	if err == nil {
		err = s.host.IP("link", "set", port, "master", "br0", "up")
	}
	if err != nil {
		return nil, fmt.Errorf("join switch: %w", err)
	}
	s.hosts[mac] = h
	return h, nil
}
