package ubus

// Bound counts the objects that a client has registered.
func Bound(c *Client) int {
	c.mu.Lock()
	cn := c.conn
	c.mu.Unlock()
	if cn == nil {
		return 0
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return len(cn.bound)
}
