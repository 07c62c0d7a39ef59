//go:build !mips && !mipsle

package iptables

import goiptables "github.com/coreos/go-iptables/iptables"

func newLister(path string) (lister, []int, error) {
	ipt, err := goiptables.New(goiptables.Path(path), goiptables.Timeout(lockWait))
	if err != nil {
		return nil, nil, err
	}
	a, b, c := ipt.GetIptablesVersion()
	return ipt, []int{a, b, c}, nil
}
