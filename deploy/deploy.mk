.PHONY: image test-compose install uninstall deb packages-compose packages-deb

image: ## build the container images that docker-compose.yml uses, with this machine's engine
	docker-compose build || docker compose build

test-compose: packages-compose python-dev ## run docker-compose.yml and the package on a container engine of the tests' own
	@GTM_TEST_COMPOSE=1 .venv/bin/python -m pytest -p no:xdist --timeout 900 tests/compose $(ARGS)

install: ## install programs, units and manual pages into $(DESTDIR)$(PREFIX), /usr/local
	@deploy/install

uninstall: ## take away what install has put there
	@deploy/install --remove

deb: packages-deb ## build the Debian package into dist/
	@deploy/make-deb
	@lintian --allow-root --fail-on error dist/pdns-gtm_*.deb

packages-compose:
	@deploy/install-packages compose

packages-deb:
	@deploy/install-packages deb
