# The image of the controller, which also writes what its Envoys start with:   docker build -t isoline .
FROM node:20.20.2-slim AS dependencies
WORKDIR /isoline
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:20.20.2-slim AS build
WORKDIR /isoline
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY proto proto/
COPY scripts scripts/
COPY src src/
RUN npm run prepare

FROM node:20.20.2-slim
WORKDIR /isoline
COPY LICENSE package.json ./
COPY --from=dependencies /isoline/node_modules node_modules/
COPY --from=build /isoline/gen gen/
COPY --from=build /isoline/dist dist/
USER 65532:65532
ENTRYPOINT ["node", "/isoline/dist/main.js"]
