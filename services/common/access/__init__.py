"""Who calls, what they may call and read: identity, roles, levels and tenants of every rpc."""
