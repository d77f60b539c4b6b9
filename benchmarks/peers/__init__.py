"""What is measured: this product and its peers, each behind `peer.Peer`."""
