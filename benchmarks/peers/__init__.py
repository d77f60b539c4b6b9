"""What is measured: mrmd-python and its peers, each a `peer.Peer`."""
