"""One file for each protocol; `registry` names them. One address, one attempt: rise and fall are the retry."""
