//go:build mips || mipsle

package iptables

func newLister(path string) (lister, []int, error) { return newOwnLister(path) }
